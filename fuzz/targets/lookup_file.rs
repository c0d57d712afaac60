//! Any bytes as a database file of another program: an answer or a complaint, within bounded time and memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_lang::lookup::format::{berkeley, cdb, gdbm, lmdb};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (key, file) = input;
    let mut file = file.to_vec();
    if let Ok(Some(database)) = berkeley::Database::open(file.clone()) {
        let _ = database.find(key);
    }
    if let Ok(Some(database)) = gdbm::Database::open(file.clone()) {
        let _ = database.find(key);
    }
    if let Ok(database) = lmdb::Database::open(file.clone()) {
        let _ = database.find(key);
    }
    if let Ok(database) = cdb::Database::open(file.clone()) {
        let _ = database.find(key);
    }
    // A table of the fuzzer's slots for whatever the key is, so that records are reached.
    let mut constant = Vec::new();
    for _ in 0..256 {
        constant.extend_from_slice(&[0, 8, 0, 0]);
        constant.extend_from_slice(&u32::try_from(file.len() / 8).unwrap_or(0).to_le_bytes());
    }
    constant.extend_from_slice(&file);
    if let Ok(database) = cdb::Database::open(constant) {
        let _ = database.find(key);
    }
    // Headers that pass, so that the rest is reached.
    if file.len() > 4096 {
        file[16..24].copy_from_slice(&[0xde, 0xc0, 0xef, 0xbe, 1, 0, 0, 0]);
        file[40..44].copy_from_slice(&[0, 2, 0, 0]);
        if let Ok(database) = lmdb::Database::open(file.clone()) {
            let _ = database.find(key);
        }
        file[12..16].copy_from_slice(&[0x62, 0x31, 5, 0]);
        file[20..28].copy_from_slice(&[0, 2, 0, 0, 0, 9, 0, 0]);
        if let Ok(Some(database)) = berkeley::Database::open(file) {
            let _ = database.find(key);
        }
    }
});

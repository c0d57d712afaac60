//! The Brightmail client library by its entry points: the one file that calls C.
//!
//! Its header file is not public, so the types are these: handles are pointers; a `BmiError` is a value of one register,
//! which only the library looks into; the answers of questions are true when their low byte is not zero. Failure modes: a
//! library that is not there or lacks an entry point, and each call that the library says has failed.
#![allow(unsafe_code, reason = "the library has a C interface only")]

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use oxim_brightmail::wire::{Destination, Failure};

type Handle = *mut c_void;
type BmiError = usize;

/// Most recipients, verdicts that are taken from one list: one that has no end is a fault of the library.
const LIST_MAX: usize = 1_000_000;

/// What the library wants as `BMI_VERSION`.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// A number.
    Number(usize),
    /// A text.
    Text(Vec<u8>),
}

/// Has the kernel end this process after so many seconds; zero: never.
pub(crate) fn set_alarm(seconds: u32) {
    // SAFETY: alarm(2) takes any number, and touches no memory.
    unsafe { libc::alarm(seconds) };
}

fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    CString::new(bytes.get(..end).unwrap_or_default()).unwrap_or_default()
}

fn c_length(bytes: &[u8]) -> c_int {
    c_int::try_from(bytes.len()).unwrap_or(c_int::MAX)
}

/// The bytes of a C string of the library; None for a null pointer.
///
/// # Safety
/// The pointer is null or leads to a string that ends with a zero byte.
unsafe fn bytes_of(text: *const c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// What dlopen or dlsym has to complain about.
fn complaint() -> String {
    // SAFETY: dlerror gives null or a string that is good until the next call.
    unsafe { bytes_of(libc::dlerror()) }
        .map_or_else(String::new, |t| String::from_utf8_lossy(&t).into_owned())
}

fn open(file: &OsStr, flags: c_int) -> Result<Handle, String> {
    let name = c_string(file.as_bytes());
    // SAFETY: the name is a C string. What the library's constructors do is why this is a process of its own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
    if handle.is_null() { Err(complaint()) } else { Ok(handle) }
}

fn symbol(library: Handle, names: &[&CStr]) -> Result<Handle, String> {
    for name in names {
        // SAFETY: the handle comes from dlopen and is never closed.
        let place = unsafe { libc::dlsym(library, name.as_ptr()) };
        if !place.is_null() {
            return Ok(place);
        }
    }
    Err(complaint())
}

macro_rules! entry_points {
    ($($field:ident = $($name:literal)|+ : ($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct EntryPoints {
            $($field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl EntryPoints {
            fn find(library: Handle) -> Result<EntryPoints, String> {
                Ok(EntryPoints {
                    $($field: {
                        let place = symbol(library, &[$($name),+])?;
                        // SAFETY: the symbol is a function of the library, and this is how it is called.
                        unsafe {
                            std::mem::transmute::<Handle, unsafe extern "C" fn($($argument),*) $(-> $result)?>(place)
                        }
                    },)*
                })
            }
        }
    };
}

entry_points! {
    init_system = c"bmiInitSystem": (usize, *const c_char, *mut Handle) -> BmiError;
    free_system = c"bmiFreeSystem": (Handle);
    init_message = c"bmiInitMessage": (Handle, *mut Handle) -> BmiError;
    free_message = c"bmiFreeMessage": (Handle);
    connection = c"bmiProcessConnection": (*const c_char, Handle) -> BmiError;
    from = c"bmiProcessFROM": (*const c_char, Handle) -> BmiError;
    optin_init = c"bmiOptinInit": (*mut Handle) -> BmiError;
    optin_set = c"bmiOptinMset" | c"bmiOptinMSet": (Handle, *const c_char, c_int) -> BmiError;
    optin_free = c"bmiOptinFree": (Handle);
    to = c"bmiAccumulateTO": (*const c_char, Handle, Handle) -> BmiError;
    end_to = c"bmiEndTO": (Handle) -> BmiError;
    headers = c"bmiAccumulateHeaders": (*const c_char, c_int, Handle) -> BmiError;
    end_headers = c"bmiEndHeaders": (Handle) -> BmiError;
    body = c"bmiAccumulateBody": (*const c_char, c_int, Handle) -> BmiError;
    end_body = c"bmiEndBody": (Handle) -> BmiError;
    end_message = c"bmiEndMessage": (Handle) -> BmiError;
    first_verdict = c"bmiAccessFirstVerdict": (Handle, *mut Handle) -> BmiError;
    next_verdict = c"bmiAccessNextVerdict": (Handle, Handle, *mut Handle) -> BmiError;
    verdict_text = c"bmiCreateStrFromVerdict": (Handle, *mut *mut c_char) -> BmiError;
    free_text = c"bmiFreeStr": (*mut c_char);
    verdict_of = c"bmiCreateVerdictFromStr": (*const c_char, *mut Handle) -> BmiError;
    free_verdict = c"bmiFreeVerdict": (Handle);
    old_text = c"bmiCreateOldStrFromVerdict": (Handle, *mut *mut c_char) -> BmiError;
    verdict_error = c"bmiVerdictError": (Handle) -> BmiError;
    is_default = c"bmiVerdictDestinationIsDefault": (Handle) -> c_int;
    destination = c"bmiVerdictAccessDestination": (Handle) -> *const c_char;
    first_recipient = c"bmiVerdictAccessFirstRecipient": (Handle) -> Handle;
    next_recipient = c"bmiVerdictAccessNextRecipient": (Handle, Handle) -> Handle;
    recipient_address = c"bmiRecipientAccessAddress": (Handle) -> *const c_char;
    rule_fired = c"bmiVerdictRuleFired": (Handle, c_int) -> c_int;
    is_fatal = c"bmiErrorIsFatal": (BmiError) -> c_int;
    error_location = c"bmiErrorGetLocation": (BmiError) -> c_int;
    error_type = c"bmiErrorGetType": (BmiError) -> c_int;
}

/// The library may answer with a byte or with a word: only the low byte is sure to be its answer.
fn is_true(answer: c_int) -> bool {
    answer & 0xff != 0
}

/// The library, loaded for good.
pub(crate) struct Library(EntryPoints);

impl Library {
    /// Loads it, after others that it wants to find in place.
    ///
    /// # Errors
    /// It is not there, or is something else.
    pub(crate) fn load(file: &OsStr, first: &[impl AsRef<OsStr>]) -> Result<Library, Failure> {
        let no_library = |why: String| Failure {
            location: 0,
            kind: 0,
            what: format!("could not initialize Brightmail system. ({why})"),
        };
        for other in first {
            open(other.as_ref(), libc::RTLD_NOW | libc::RTLD_GLOBAL).map_err(no_library)?;
        }
        let library = open(file, libc::RTLD_NOW | libc::RTLD_LOCAL).map_err(no_library)?;
        EntryPoints::find(library).map(Library).map_err(no_library)
    }

    fn fatal(&self, error: BmiError, what: impl FnOnce() -> String) -> Option<Failure> {
        // SAFETY: the value comes from the library, which alone knows what it is.
        unsafe {
            is_true((self.0.is_fatal)(error)).then(|| Failure {
                location: (self.0.error_location)(error).cast_unsigned(),
                kind: (self.0.error_type)(error).cast_unsigned(),
                what: what(),
            })
        }
    }

    fn check(&self, error: BmiError, what: impl FnOnce() -> String) -> Result<(), Failure> {
        self.fatal(error, what).map_or(Ok(()), Err)
    }

    /// Takes over a text that the library has made.
    fn take_text(&self, text: *mut c_char) -> Option<Vec<u8>> {
        // SAFETY: the library says that it is one of its strings, or null; it is freed once, after the copy.
        unsafe {
            let bytes = bytes_of(text)?;
            (self.0.free_text)(text);
            Some(bytes)
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The library with its configuration read.
pub(crate) struct Session {
    library: Library,
    system: Handle,
}

impl Session {
    /// Has the library read its configuration.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn begin(
        library: Library,
        version: &Version,
        configuration: &OsStr,
    ) -> Result<Session, Failure> {
        let path = c_string(configuration.as_bytes());
        let text = if let Version::Text(text) = version { c_string(text) } else { CString::default() };
        let version =
            if let Version::Number(number) = version { *number } else { text.as_ptr().expose_provenance() };
        let mut system: Handle = ptr::null_mut();
        // SAFETY: C strings that outlive the call, and a place for a handle.
        let error = unsafe { (library.0.init_system)(version, path.as_ptr(), &raw mut system) };
        library.check(error, || "could not initialize Brightmail system.".to_owned())?;
        Ok(Session { library, system })
    }

    /// A new message.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn message(&self) -> Result<Message<'_>, Failure> {
        let mut handle: Handle = ptr::null_mut();
        // SAFETY: the session's own handle, and a place for another.
        let error = unsafe { (self.library.0.init_message)(self.system, &raw mut handle) };
        self.library.check(error, || "could not initialize Brightmail message.".to_owned())?;
        Ok(Message { library: &self.library, handle })
    }

    /// A verdict from its text.
    ///
    /// # Errors
    /// The library says that it is none.
    pub(crate) fn verdict(&self, text: &[u8]) -> Result<Verdict<'_>, Failure> {
        let given = c_string(text);
        let mut handle: Handle = ptr::null_mut();
        // SAFETY: a C string that outlives the call, and a place for a handle.
        let error = unsafe { (self.library.0.verdict_of)(given.as_ptr(), &raw mut handle) };
        let what = || format!("bmiCreateVerdictFromStr() failed. [{}]", shown(text));
        self.library.check(error, what)?;
        if handle.is_null() {
            return Err(Failure { location: 0, kind: 0, what: what() });
        }
        Ok(Verdict { library: &self.library, handle, text: text.to_vec(), of_session: PhantomData })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the handle is the session's own; messages and verdicts cannot outlive the session.
        unsafe { (self.library.0.free_system)(self.system) };
    }
}

/// A message that is being given to the library.
pub(crate) struct Message<'a> {
    library: &'a Library,
    handle: Handle,
}

impl Message<'_> {
    /// The address of the client.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn client(&self, address: &[u8]) -> Result<(), Failure> {
        let given = c_string(address);
        // SAFETY: a C string that outlives the call, and the message's own handle.
        let error = unsafe { (self.library.0.connection)(given.as_ptr(), self.handle) };
        self.library.check(error, || format!("bmiProcessConnection() failed (IP {}).", shown(address)))
    }

    /// The envelope sender.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn from(&self, address: &[u8]) -> Result<(), Failure> {
        let given = c_string(address);
        // SAFETY: as above.
        let error = unsafe { (self.library.0.from)(given.as_ptr(), self.handle) };
        self.library.check(error, || format!("bmiProcessFROM() failed (address {}).", shown(address)))
    }

    /// A recipient, perhaps with opt-in strings. What is wrong with those is only a warning.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn to(&self, address: &[u8], opt_in: Option<&[u8]>) -> Result<Option<Failure>, Failure> {
        let mut warning = None;
        let mut handle: Handle = ptr::null_mut();
        if let Some(text) = opt_in {
            (handle, warning) = self.opt_in(address, text);
        }
        let given = c_string(address);
        // SAFETY: a C string that outlives the call, an opt-in handle or null, the message's own handle.
        let error = unsafe { (self.library.0.to)(given.as_ptr(), handle, self.handle) };
        if !handle.is_null() {
            // SAFETY: it comes from optin_init, and is freed once.
            unsafe { (self.library.0.optin_free)(handle) };
        }
        self.library.check(error, || format!("bmiAccumulateTO() failed (address {}).", shown(address)))?;
        Ok(warning)
    }

    fn opt_in(&self, address: &[u8], text: &[u8]) -> (Handle, Option<Failure>) {
        let what =
            || format!("bmiOptinMSet() failed (address '{}', string '{}').", shown(address), shown(text));
        let mut handle: Handle = ptr::null_mut();
        let given = c_string(text);
        // SAFETY: a place for a handle; then that handle, and a C string that outlives the call.
        let error = unsafe { (self.library.0.optin_init)(&raw mut handle) };
        if let Some(failure) = self.library.fatal(error, what) {
            return (ptr::null_mut(), Some(failure));
        }
        // SAFETY: as above.
        let error = unsafe { (self.library.0.optin_set)(handle, given.as_ptr(), c_int::from(b':')) };
        match self.library.fatal(error, what) {
            None => (handle, None),
            Some(failure) => {
                // SAFETY: it comes from optin_init, and is freed once.
                unsafe { (self.library.0.optin_free)(handle) };
                (ptr::null_mut(), Some(failure))
            }
        }
    }

    /// There are no more recipients.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn end_recipients(&self) -> Result<(), Failure> {
        // SAFETY: the message's own handle.
        let error = unsafe { (self.library.0.end_to)(self.handle) };
        self.library.check(error, || "bmiEndTO() failed.".to_owned())
    }

    /// A header line.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn header(&self, text: &[u8]) -> Result<(), Failure> {
        // SAFETY: bytes with their length, and the message's own handle.
        let error = unsafe { (self.library.0.headers)(text.as_ptr().cast(), c_length(text), self.handle) };
        self.library.check(error, || "bmiAccumulateHeaders() failed.".to_owned())
    }

    /// There are no more header lines.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn end_headers(&self) -> Result<(), Failure> {
        // SAFETY: the message's own handle.
        let error = unsafe { (self.library.0.end_headers)(self.handle) };
        self.library.check(error, || "bmiEndHeaders() failed.".to_owned())
    }

    /// A piece of the body.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn body(&self, bytes: &[u8]) -> Result<(), Failure> {
        // SAFETY: bytes with their length, and the message's own handle.
        let error = unsafe { (self.library.0.body)(bytes.as_ptr().cast(), c_length(bytes), self.handle) };
        self.library.check(error, || "bmiAccumulateBody() failed.".to_owned())
    }

    /// That was the message.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        // SAFETY: the message's own handle.
        let error = unsafe { (self.library.0.end_body)(self.handle) };
        self.library.check(error, || "bmiEndBody() failed.".to_owned())?;
        // SAFETY: the message's own handle.
        let error = unsafe { (self.library.0.end_message)(self.handle) };
        self.library.check(error, || "bmiEndMessage() failed.".to_owned())
    }

    /// The texts of the verdicts.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn verdicts(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut texts = Vec::new();
        let mut verdict: Handle = ptr::null_mut();
        // SAFETY: the message's own handle, and a place for that of a verdict, which stays the library's.
        let mut error = unsafe { (self.library.0.first_verdict)(self.handle, &raw mut verdict) };
        loop {
            self.library.check(error, || "bmiAccessFirstVerdict() failed.".to_owned())?;
            if verdict.is_null() || texts.len() >= LIST_MAX {
                return Ok(texts);
            }
            let mut text: *mut c_char = ptr::null_mut();
            // SAFETY: a verdict of this message, and a place for a string.
            let error_of_text = unsafe { (self.library.0.verdict_text)(verdict, &raw mut text) };
            self.library.check(error_of_text, || "bmiCreateStrFromVerdict() failed.".to_owned())?;
            texts.extend(self.library.take_text(text));
            let previous = verdict;
            verdict = ptr::null_mut();
            // SAFETY: the message's own handle, a verdict of it, and a place for the next.
            error = unsafe { (self.library.0.next_verdict)(self.handle, previous, &raw mut verdict) };
        }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is the message's own, and is freed once.
        unsafe { (self.library.0.free_message)(self.handle) };
    }
}

/// A verdict that the library has read.
pub(crate) struct Verdict<'a> {
    library: &'a Library,
    handle: Handle,
    text: Vec<u8>,
    of_session: PhantomData<&'a Session>,
}

impl Verdict<'_> {
    /// The text for the tracker's header line.
    ///
    /// # Errors
    /// The library says no.
    pub(crate) fn tracker(&self) -> Result<Vec<u8>, Failure> {
        let mut text: *mut c_char = ptr::null_mut();
        // SAFETY: the verdict's own handle, and a place for a string.
        let error = unsafe { (self.library.0.old_text)(self.handle, &raw mut text) };
        let what = || format!("bmiCreateOldStrFromVerdict() failed. [{}]", shown(&self.text));
        self.library.check(error, what)?;
        Ok(self.library.take_text(text).unwrap_or_default())
    }

    /// Those whom it is about.
    pub(crate) fn recipients(&self) -> Vec<Vec<u8>> {
        let mut addresses = Vec::new();
        // SAFETY: the verdict's own handle; recipients stay the library's as long as the verdict lives.
        unsafe {
            let mut recipient = (self.library.0.first_recipient)(self.handle);
            while !recipient.is_null() && addresses.len() < LIST_MAX {
                addresses.extend(bytes_of((self.library.0.recipient_address)(recipient)));
                recipient = (self.library.0.next_recipient)(self.handle, recipient);
            }
        }
        addresses
    }

    /// Whether it is a verdict at all, and not an error in the shape of one.
    pub(crate) fn is_good(&self) -> bool {
        // SAFETY: the verdict's own handle.
        let error = unsafe { (self.library.0.verdict_error)(self.handle) };
        self.library.fatal(error, String::new).is_none()
    }

    /// Where it sends the message. An error in the shape of a verdict sends it to the recipient.
    pub(crate) fn destination(&self) -> Destination {
        // SAFETY: the verdict's own handle; the string stays the library's.
        unsafe {
            if !self.is_good() || is_true((self.library.0.is_default)(self.handle)) {
                return Destination::Default;
            }
            bytes_of((self.library.0.destination)(self.handle))
                .map_or(Destination::Nowhere, Destination::Elsewhere)
        }
    }

    /// Whether a rule has fired.
    pub(crate) fn has_fired(&self, rule: u32) -> bool {
        let Ok(rule) = c_int::try_from(rule) else { return false };
        // SAFETY: the verdict's own handle, and a number.
        unsafe { is_true((self.library.0.rule_fired)(self.handle, rule)) }
    }
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is the verdict's own, and is freed once.
        unsafe { (self.library.0.free_verdict)(self.handle) };
    }
}

//! Where a message goes: routers, transports, retry, rewriting, the queue.

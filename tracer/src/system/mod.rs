//! What userspace knows. Alone reads the machine.

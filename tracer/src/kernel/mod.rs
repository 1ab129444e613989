//! What the kernel saw. Alone knows aya.

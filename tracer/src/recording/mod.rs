//! The evidence file: written as it comes, read back whole or in part.

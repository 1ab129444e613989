//! The story: evidence in, verdict out. Pure: nothing in here reads a file, a clock or the network.

pub mod verdict;

//! What the live and lab tests share: fixture programs that end in every way, and the harnesses
//! that watch them end.

pub mod fixtures;
pub mod lab;
pub mod live;
pub mod load;
pub mod vm;

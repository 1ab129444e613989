//! What the live and lab tests share.

pub mod lab;

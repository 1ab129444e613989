//! What the live and lab tests share.

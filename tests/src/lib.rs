//! What the live and lab tests share: fixture programs that end in every way, the harnesses that
//! watch them end, the virtual machines, and the recorded cases that are made of it. And what holds for every story,
//! whatever bytes come in, and the load of the benchmarks.

pub mod cases;
pub mod death;
pub mod elf;
pub mod entrances;
pub mod fixtures;
pub mod lab;
pub mod live;
pub mod load;
pub mod markdown;
pub mod schema;
pub mod shell;
pub mod soundness;
pub mod vm;

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| killtrace_tests::entrances::check("values", bytes));

//! The fuzz target `child`; libFuzzer has `main`.

#![no_main]

tms_fuzz::target!(tms_fuzz::child::run);

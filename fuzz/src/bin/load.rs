//! The fuzz target `load`; libFuzzer has `main`.

#![no_main]

tms_fuzz::target!(tms_fuzz::load::run);

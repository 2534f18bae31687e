//! The fuzz target `grpc`; libFuzzer has `main`.

#![no_main]

tms_fuzz::target!(tms_fuzz::grpc::run);

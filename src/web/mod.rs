//! The shell: runs the engine in a browser, a worker or Node. It performs outputs and reports facts; it decides nothing.
//! One browser API a file.

mod channel;
mod clock;
mod database;
mod decode;
mod domains;
mod driver;
mod exports;
mod happenings;
mod js_record;
mod locks;
mod names;
mod panic;
mod rows;
mod sealing;
mod shelf;
mod storage;

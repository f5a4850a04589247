//! The configuration file: whatever it holds is loaded or refused with a reason, and never a panic.
//!
//! Input: the text of the file. Files that it includes are there and empty.
#![no_main]

use ironring::config::args::Sources;
use ironring::config::load::{Host, load};
use libfuzzer_sys::fuzz_target;

/// A system in which every file is there, and empty.
struct Empty;

impl Host for Empty {
    fn read_file(&mut self, _path: &[u8]) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    fn read_stdin(&mut self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    fn glob(&mut self, pattern: &[u8]) -> Vec<Vec<u8>> {
        vec![pattern.to_vec()]
    }

    fn current_dir(&mut self) -> Vec<u8> {
        b"/".to_vec()
    }

    fn enter_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        Ok(path.to_vec())
    }

    fn try_append(&mut self, _path: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn rename_command(&mut self, _old: &[u8], _new: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn declare_user(&mut self, _words: &[&[u8]]) -> Result<(), String> {
        Ok(())
    }
}

fuzz_target!(|text: &[u8]| {
    let sources = Sources { options: Some(text.to_vec()), ..Sources::default() };
    let _ = load(&sources, &mut Empty);
});

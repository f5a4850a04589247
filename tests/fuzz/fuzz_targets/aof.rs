//! The scanner of append-only files: whatever a file holds, and wherever it is cut into pieces, gives
//! the same verdict, and what that says is whole, is; never a panic.
//!
//! Input: the length of the pieces, then the file.
#![no_main]

use ironring::persist::aof::manifest::Manifest;
use ironring::persist::aof::scan::{State, Verdict, Verifier};
use libfuzzer_sys::fuzz_target;

fn verify(file: &[u8], piece: usize) -> Verdict {
    let mut verifier = Verifier::new(0);
    file.chunks(piece).for_each(|chunk| verifier.feed(chunk));
    verifier.finish()
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, file)) = data.split_first() else { return };
    let verdict = verify(file, usize::from(*piece) + 1);
    assert_eq!(verdict, verify(file, file.len().max(1)));
    assert_eq!(verify(&file[..verdict.safe as usize], 64).state, State::Whole);
    if let Ok(manifest) = Manifest::parse(file) {
        let text = manifest.to_bytes();
        if !text.is_empty() {
            assert_eq!(Manifest::parse(&text).expect("our own").to_bytes(), text);
        }
    }
});

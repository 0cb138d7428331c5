//! What a killed process left, whatever is in its files: read without a panic, twice the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (segment, mark) = input;
    let root = std::env::temp_dir().join(format!("penstock-fuzz-journal-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    // A journal whose process has ended, with a file of its writer exchanged and its mark overwritten.
    drop(penstock_journal::open(&root, "ended", 1, 1 << 12).expect("a directory of its own"));
    let directory = root.join("ended");
    std::fs::create_dir_all(&directory).expect("a directory of its own");
    std::fs::write(directory.join("lock"), b"").expect("a file");
    std::fs::write(directory.join("0-7"), segment).expect("a file");
    std::fs::write(directory.join("acknowledged"), mark).expect("a file");
    let opened = penstock_journal::open(&root, "next", 1, 1 << 12).expect("a directory of its own");
    for ended in opened.ended {
        let found = ended.read().expect("files that can be read");
        assert_eq!(found, ended.read().expect("files that can be read"));
        let mut report = ended.report().expect("files that can be read");
        assert_eq!(report.closed(), found.closed.len());
        for index in 0..report.closed() {
            report.record(index).expect("a record that was found");
        }
    }
    let _ = std::fs::remove_dir_all(&root);
});

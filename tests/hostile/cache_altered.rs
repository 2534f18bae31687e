//! Compiled code that was damaged, cut off, emptied or exchanged: stopped by compiling again, OK.

use super::*;

#[tokio::test]
async fn cache_altered() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    under_attack(hostile("").cache(&cache), assert_serves).await;
    let good: Vec<_> = files(&cache).into_iter().map(|f| (fs::read(&f).unwrap(), f)).collect();
    type Alter = fn(&[u8]) -> Vec<u8>;
    let alterations: [Alter; 4] = [
        |code| {
            let mut flipped = code.to_vec();
            flipped[code.len() / 2] ^= 1;
            flipped
        },
        |code| code[..code.len() / 2].to_vec(),
        |_| Vec::new(),
        |_| b"no code at all".to_vec(),
    ];
    for alter in alterations {
        // In place, so that owner and mode stay right.
        good.iter().for_each(|(code, file)| fs::write(file, alter(code)).unwrap());
        under_attack(hostile("").cache(&cache), async |server| {
            let warning = "compiled code is not used, compiling again: ";
            assert!(server.log().contains(warning), "{}", server.log());
            assert_serves(server).await;
        })
        .await;
        let same = good.iter().all(|(code, file)| fs::read(file).unwrap() == *code);
        assert!(same, "the same code was made again");
    }
    under_attack(hostile("").cache(&cache), async |server| {
        assert!(!server.log().contains("compiled code is not"), "{}", server.log());
    })
    .await;
}

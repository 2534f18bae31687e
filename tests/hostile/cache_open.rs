//! Compiled code lies where others may write: stopped by not being used, OK.

use super::*;

#[tokio::test]
async fn cache_open() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path();
    for mode in [0o777, 0o770, 0o755] {
        set_mode(cache, mode);
        under_attack(hostile("").cache(cache), async |server| {
            let warning = format!(
                "compiled code is not cached: the folder {} is not used: others may read or write \
                 it (want mode 700)",
                cache.display()
            );
            assert!(server.log().contains(&warning), "{}", server.log());
            assert_serves(server).await;
        })
        .await;
        assert_eq!(fs::read_dir(cache).unwrap().count(), 0, "nothing is written there");
    }
    set_mode(cache, 0o700);
    under_attack(hostile("").cache(cache), assert_serves).await;
    assert_ne!(fs::read_dir(cache).unwrap().count(), 0, "it is used");
}

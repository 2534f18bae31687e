//! Compiled code that others could have put there: stopped by compiling again, OK.

use super::*;

#[tokio::test]
async fn cache_planted() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    under_attack(hostile("").cache(&cache), assert_serves).await;
    let warning = "compiled code is not used, compiling again: others may read or write it";
    for file in files(&cache) {
        set_mode(&file, 0o666);
    }
    under_attack(hostile("").cache(&cache), async |server| {
        assert!(server.log().contains(warning), "{}", server.log());
        assert_serves(server).await;
    })
    .await;
    // Nor is a link to somewhere else used, whosever it is.
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for file in files(&cache) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "made again");
        let planted = elsewhere.join(file.file_name().unwrap());
        fs::rename(&file, &planted).unwrap();
        symlink(&planted, &file).unwrap();
    }
    under_attack(hostile("").cache(&cache), async |server| {
        assert!(server.log().contains("compiled code is not used"), "{}", server.log());
        assert_serves(server).await;
    })
    .await;
    for file in files(&cache) {
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink(), "replaced by a file");
    }
    under_attack(hostile("").cache(&cache), async |server| {
        assert!(!server.log().contains("compiled code is not"), "{}", server.log());
    })
    .await;
}

//! Uploads that one server takes for expired while another one goes on with them.

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use ferry_server::store::Call;

use crate::{
    acts::{CHUNK, ID, Side, options, prepare},
    common::{fresh_root, tree},
    intruder::Intruder,
};

/// Returns when the upload was last touched, in whole seconds.
fn touched(root: &Path) -> Duration {
    let of = |what: &str| root.join(format!(".ferry/kept/{ID}.{what}")).metadata().expect("a kept upload").ctime();
    Duration::from_secs(of("data").max(of("mark")).cast_unsigned())
}

#[test]
fn an_upload_that_goes_on_at_another_server_is_not_expired() {
    let root = fresh_root();
    let (options, intruder) = (options(root.path()), Arc::new(Intruder::default()));
    let mut first = Side::open(&options, 1, Some(intruder.clone()));
    prepare(&mut first);
    let before = touched(root.path());
    // Later changes must have later times: the next second has to come.
    while SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970")
        < before + Duration::from_secs(2)
    {
        thread::sleep(Duration::from_millis(1));
    }
    let second = Arc::new(Mutex::new(Side::open(&options, 2, None)));
    let other = second.clone();
    // It looked at the times, and is about to take hold of the mark.
    let is_mark = |call: &Call<'_>| matches!(call, Call::Open { path, .. } if path.ends_with(".mark"));
    intruder.arm(is_mark, move || {
        let mut side = other.lock().expect("the other side");
        assert!(side.resume().expect("GO").is_none());
        side.send_some().expect("a chunk");
        side.cut().expect("kept");
    });
    first.store.clean_at(SystemTime::UNIX_EPOCH + before + options.keep, Instant::now());
    assert!(intruder.disarm(), "the upload was taken for expired");
    assert!(touched(root.path()) > before);
    assert_eq!(tree::kept(root.path(), ID).len(), 3 * CHUNK);
    let mut second = second.lock().expect("the other side");
    assert!(second.resume().expect("GO").is_none());
    assert_eq!(second.finish().expect("SAVED").split(',').next(), Some("GO 12288"));
}

#[test]
fn a_dead_servers_directory_that_cannot_be_removed_keeps_nothing_else() {
    let root = fresh_root();
    let options = options(root.path());
    let mut side = Side::open(&options, 1, None);
    prepare(&mut side);
    std::fs::create_dir_all(root.path().join(".ferry/run-odd/a directory")).expect("a directory");
    side.store.clean_at(SystemTime::now() + options.keep * 2, Instant::now());
    assert!(tree::kept(root.path(), ID).is_empty(), "what nobody resumed is expired all the same");
    assert_eq!(tree::runs(root.path()).len(), 2);
}

#[test]
fn an_upload_that_is_held_at_another_server_is_not_expired() {
    let root = fresh_root();
    let options = options(root.path());
    let (first, mut second) = (Side::open(&options, 1, None), Side::open(&options, 2, None));
    prepare(&mut second);
    assert!(second.resume().expect("GO").is_none());
    first.store.clean_at(SystemTime::now() + options.keep * 2, Instant::now());
    assert!(second.finish().expect("SAVED").starts_with("GO 8192, SAVED"));
    first.store.clean_at(SystemTime::now() + options.keep * 2, Instant::now());
    assert_eq!(second.resume().expect("GO"), None, "what is known of a published upload expires as well");
}

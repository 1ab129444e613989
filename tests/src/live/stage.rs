//! A scene, as seen by a test: opened, begun, closed.

use std::fs;
use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Map, Value};

use super::lines::Lines;
use crate::fixtures::{self, Scene};

/// A scene whose actors are in place.
#[derive(Debug)]
pub struct Stage {
    /// Which scene.
    pub scene: &'static Scene,
    child: Child,
    go: Option<ChildStdin>,
    lines: Lines,
    who: Map<String, Value>,
    /// Actors with the start times that tell them from others of the same pid.
    actors: Vec<(u32, String)>,
}

impl Stage {
    /// Starts the fixture and waits until its actors are in place.
    pub fn open(name: &str) -> Self {
        super::require_root();
        let scene = fixtures::scene(name).unwrap_or_else(|| panic!("no scene is called {name}"));
        let mut child = Command::new(super::program("killtrace-fixture"))
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start killtrace-fixture: {error}"));
        let go = child.stdin.take();
        let lines = Lines::of(child.stdout.take().expect("standard output is piped"));
        let mut stage = Self { scene, child, go, lines, who: Map::new(), actors: Vec::new() };
        stage.who = stage.object("the actors to take their places");
        let pids =
            stage.who.values().filter_map(Value::as_u64).filter_map(|pid| pid.try_into().ok());
        stage.actors = pids.filter_map(|pid| Some((pid, start_time(pid)?))).collect();
        stage
    }

    /// Pid of an actor, or of the director, who is the parent of all whom nobody else started.
    pub fn pid(&self, name: &str) -> u32 {
        let pid = self.who.get(name).and_then(Value::as_u64).and_then(|pid| pid.try_into().ok());
        pid.unwrap_or_else(|| panic!("{} has no {name}", self.scene.name))
    }

    /// Something else that the scene told.
    pub fn text(&self, key: &str) -> &str {
        let text = self.who.get(key).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{} tells no {key}", self.scene.name))
    }

    /// Those whose end the scene is about.
    pub fn victims(&self) -> Vec<(String, u32)> {
        let names = self.who.keys().filter(|name| name.starts_with("victim"));
        names.map(|name| (name.clone(), self.pid(name))).collect()
    }

    /// Lets it happen.
    pub fn begin(&mut self) {
        let go = self.go.as_mut().expect("a scene begins once");
        go.write_all(b"go\n").unwrap_or_else(|error| panic!("the fixture is gone: {error}"));
    }

    /// Waits until the victims have ended, and proves by wait status that they did as meant.
    pub fn victims_end(&mut self) {
        let statuses = self.object("the victims to end");
        let meant = self.scene.ends.wait_status();
        // `null`: the victim's parent collected it and kept the status to itself.
        for (name, status) in statuses.iter().filter(|(_, status)| !status.is_null()) {
            let scene = self.scene.name;
            assert_eq!(status.as_i64(), Some(meant.into()), "wait status of {scene}'s {name}");
        }
    }

    /// Sends the other actors home. Tells who was who.
    pub fn close(mut self) -> Cast {
        self.go = None;
        let ended = self.child.wait().unwrap_or_else(|error| panic!("waiting: {error}"));
        assert!(ended.success(), "killtrace-fixture {}: {ended}", self.scene.name);
        Cast { scene: self.scene, who: std::mem::take(&mut self.who) }
    }

    fn object(&mut self, what: &str) -> Map<String, Value> {
        let what = format!("{what} ({})", self.scene.name);
        let line = self.lines.next(&what);
        let line = line.unwrap_or_else(|| panic!("the fixture ended; waited for {what}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }
}

impl Drop for Stage {
    /// Leaves nobody behind where a test fails half-way.
    fn drop(&mut self) {
        self.go = None;
        for (pid, start) in &self.actors {
            if start_time(*pid).as_ref() == Some(start) {
                // SAFETY: takes integers; the process is one of the scene's own.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            }
        }
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who was who in a scene that is over.
#[derive(Debug)]
pub struct Cast {
    /// Which scene.
    pub scene: &'static Scene,
    who: Map<String, Value>,
}

impl Cast {
    /// Pid of an actor, where it had one that was known when the scene began.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.who.get(name).and_then(Value::as_u64).and_then(|pid| pid.try_into().ok())
    }

    /// Those whose end the scene was about.
    pub fn victims(&self) -> impl Iterator<Item = (&str, u32)> {
        let victims = self.who.keys().filter(|name| name.starts_with("victim"));
        victims.filter_map(|name| Some((name.as_str(), self.pid(name)?)))
    }
}

/// Field 22 of `/proc/PID/stat`; `None` where the process is gone.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat);
    text.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

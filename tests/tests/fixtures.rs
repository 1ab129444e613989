//! Each scene ends its victims as it says, by the word of `wait(2)` and without any tracer; and the
//! table of docs/ways-to-die.md has a row for each.

use killtrace_tests::fixtures;
use killtrace_tests::live::Stage;

#[test]
fn each_scene_ends_as_it_says() {
    for scene in fixtures::scenes() {
        let mut stage = Stage::open(scene.name);
        stage.begin();
        stage.victims_end();
        stage.close();
    }
}

#[test]
fn no_two_scenes_have_the_same_name() {
    let mut names: Vec<&str> = fixtures::scenes().map(|scene| scene.name).collect();
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}

#[test]
fn each_scene_has_its_row_in_the_documentation() {
    let table = include_str!("../../docs/ways-to-die.md");
    for scene in fixtures::scenes() {
        let row = format!("| `{}` |", scene.name);
        assert!(table.contains(&row), "docs/ways-to-die.md has no row that begins with {row}");
    }
}

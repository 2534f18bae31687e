//! Is a component of a few kilobytes that unrolls to millions of instances, copies or items: stopped by
//! not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn doubling() {
    for (nested, reason) in [
        // 27 components, each of which instantiates the one before twice.
        (instances(26), "makes component instances: 134217727"),
        // So many that their number is too large for any number.
        (instances(90), "makes component instances: 18446744073709551615"),
        // Each of ten makes the one before ten times, and a memory.
        (memories(), "has memories: 1001"),
        // Nothing is instantiated twice, but every instance holds the one before twice.
        (bags(17), "copies entries of instances: "),
        // A component captures what it takes from around it, with all that that captured.
        (captures(40), "copies entries of instances: "),
        (items(), "has items (types, imports, exports, aliases, functions): "),
        (given(), "instantiates a component that it imports or takes from an instance"),
    ] {
        under_attack(model_with(&nested), async |server| assert_not_served(server, reason).await)
            .await;
    }
    let model = world::assemble(&world::Core::default().text());
    let deep = world::component([model, nested(150)].concat(), "");
    under_attack(deep, async |server| {
        assert_not_served(server, "nests components: more than 100").await;
    })
    .await;
    // An honest one: 31 component instances, 17 core instances and as many memories.
    under_attack(model_with(&instances(4)), async |server| {
        assert_eq!(attack(server, "", &json!({})).await.unwrap(), Value::Null);
    })
    .await;
}

/// A model that does nothing, with this in its component.
fn model_with(nested: &str) -> Setup {
    let text = world::Core::default().text();
    let text = text.trim_end().strip_suffix(')').unwrap();
    world::component(world::assemble(&format!("{text} {nested})")), "")
}

/// Each level instantiates the one before `times`.
fn levels(count: usize, times: usize, first: &str) -> String {
    let mut text = format!("(component $c0 {first})");
    for level in 1..=count {
        let twice = "(instance (instantiate $x))".repeat(times);
        text += &format!(
            "(component $c{level} (alias outer 1 $c{} (component $x)) {twice})",
            level - 1
        );
    }
    text + &format!("(instance (instantiate $c{count}))")
}

fn instances(count: usize) -> String {
    levels(count, 2, "(core module $e (memory 1)) (core instance (instantiate $e))")
}

fn memories() -> String {
    levels(2, 10, &"(core module (memory 1)) (core instance (instantiate 0))".repeat(10))
}

fn items() -> String {
    levels(1, 900, &r#"(type (func (param "a" u32)))"#.repeat(2000))
}

fn bags(count: usize) -> String {
    let mut text = String::from("(instance $i0)");
    for level in 1..=count {
        let before = level - 1;
        text += &format!(
            r#"(instance $i{level} (export "a" (instance $i{before})) (export "b" (instance $i{before})))"#
        );
    }
    // Each of these copies the last.
    text + &format!(r#"(instance (export "a" (instance $i{count})))"#).repeat(100)
}

fn captures(count: usize) -> String {
    let mut text = String::from("(component $c0)");
    for level in 1..=count {
        let before = level - 1;
        text += &format!(
            "(component $c{level} (alias outer 1 $c{before} (component)) (alias outer 1 $c{before} (component)))"
        );
    }
    text
}

/// Components in each other, as a section.
fn nested(depth: usize) -> Vec<u8> {
    const COMPONENT: u8 = 4;
    let empty = b"\0asm\x0d\0\x01\0";
    let mut section = world::section(COMPONENT, empty);
    for _ in 1..depth {
        section = world::section(COMPONENT, &[&empty[..], &section].concat());
    }
    section
}

fn given() -> String {
    r#"(component $a (import "c" (component $c)) (instance (instantiate $c)))
       (component $b) (instance (instantiate $a (with "c" (component $b))))"#
        .into()
}

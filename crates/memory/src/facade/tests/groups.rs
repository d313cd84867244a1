//! Groups, with Qdrant's semantics.

use super::*;

async fn of(memory: &Memory, scope: &Scope<Write>, groups: Value) -> Vec<(Value, Vec<u64>)> {
    let groups = memory.parsed_groups(groups);
    let groups = memory.of(scope).groups(&name(), groups).await.unwrap();
    groups.iter().map(|group| (group.id.clone(), ids(&group.hits))).collect()
}

async fn set(indexes: &[(&str, &str)], points: Vec<Point>) -> (World, Memory, Scope<Write>) {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(indexes)).await;
    memory.put(&acme, points).await;
    (world, memory, acme)
}

fn doc(id: u64, group: Value) -> Point {
    point(id, [id as f32, 0.0], json!({"g": group, "id": id}))
}

#[tokio::test]
async fn best_groups_first_each_with_its_best() {
    let (_world, memory, acme) = set(
        &[],
        vec![
            doc(9, json!("a")),
            doc(8, json!("b")),
            doc(7, json!("a")),
            doc(6, json!("a")),
            doc(5, json!(7)),
            doc(4, json!(["b", "c", "b", 1.5, null, true])),
            doc(3, json!(18_446_744_073_709_551_615_u64)),
            doc(2, json!(2.5)),
            doc(1, Value::Null),
            point(10, [99.0, 0.0], json!({})),
        ],
    )
    .await;
    let ask = |limit: usize, size: usize| json!({"query": [1.0, 0.0], "group_by": "g", "limit": limit, "group_size": size});
    let all = vec![
        (json!("a"), vec![9, 7, 6]),
        (json!("b"), vec![8, 4]),
        (json!(7), vec![5]),
        (json!("c"), vec![4]),
        (json!(18_446_744_073_709_551_615_u64), vec![3]),
    ];
    assert_eq!(of(&memory, &acme, ask(9, 9)).await, all);
    assert_eq!(
        of(&memory, &acme, ask(2, 2)).await,
        [(json!("a"), vec![9, 7]), (json!("b"), vec![8, 4]),]
    );
    assert_eq!(
        of(&memory, &acme, ask(4, 1)).await,
        [(json!("a"), vec![9]), (json!("b"), vec![8]), (json!(7), vec![5]), (json!("c"), vec![4]),]
    );
    let mut filtered = ask(9, 9);
    filtered["filter"] = json!({"must_not": [{"has_id": [9, 8]}]});
    assert_eq!(of(&memory, &acme, filtered).await[0], (json!("a"), vec![7, 6]));
    let mut few = ask(9, 9);
    few["score_threshold"] = json!(6.5);
    assert_eq!(of(&memory, &acme, few).await, [(json!("a"), vec![9, 7]), (json!("b"), vec![8]),]);
}

#[tokio::test]
async fn groups_far_behind_are_found_and_filled() {
    // A thousand of one group before a few of others, which are interleaved to the end.
    let mut points: Vec<Point> = (1_000..2_000).map(|id| doc(id, json!("crowd"))).collect();
    points.extend((1..=30).map(|id| doc(id, json!(format!("g{}", id % 3)))));
    let (_world, memory, acme) = set(&[("g", "keyword")], points).await;
    let ask = json!({"query": [1.0, 0.0], "group_by": "g", "limit": 4, "group_size": 4});
    assert_eq!(
        of(&memory, &acme, ask).await,
        [
            (json!("crowd"), vec![1_999, 1_998, 1_997, 1_996]),
            (json!("g0"), vec![30, 27, 24, 21]),
            (json!("g2"), vec![29, 26, 23, 20]),
            (json!("g1"), vec![28, 25, 22, 19]),
        ]
    );
    let none = json!({"query": [1.0, 0.0], "group_by": "nothing", "limit": 4, "group_size": 4});
    assert_eq!(of(&memory, &acme, none).await, []);
}

#[tokio::test]
async fn groups_of_what_prefetches_found() {
    let (_world, memory, acme) =
        set(&[("g", "integer")], (1..=20).map(|id| doc(id, json!(id % 2))).collect()).await;
    let ask = json!({"prefetch": {"query": [1.0, 0.0], "limit": 4}, "query": {"fusion": "rrf"},
        "group_by": "g", "limit": 2, "group_size": 3, "with_payload": ["id"],
        "with_vector": true});
    let groups = memory.of(&acme).groups(&name(), memory.parsed_groups(ask)).await.unwrap();
    let found: Vec<_> = groups.iter().map(|group| (group.id.clone(), ids(&group.hits))).collect();
    assert_eq!(found, [(json!(0), vec![20, 18, 16]), (json!(1), vec![19, 17, 15])]);
    let hit = &groups[0].hits[0];
    assert_eq!(Value::Object(hit.payload.clone().unwrap()), json!({"id": 20}));
    assert_eq!(hit.vectors.as_ref().unwrap()[""], Vector::Dense(vec![20.0, 0.0]));
}

use std::collections::BTreeMap;

use bulkhead_store::{Depth, Error, File, Range, Store, Table, Usage};
use proptest::prelude::*;
use scope::{Scope, Write};

use super::world::{EVENTS, OTHERS, THINGS, World, system};

#[derive(Clone, Debug)]
enum Op {
    Put {
        who: usize,
        table: usize,
        key: u8,
        size: usize,
    },
    Delete {
        who: usize,
        table: usize,
        key: u8,
    },
    /// Several in one transaction, which then fails.
    Undone {
        who: usize,
        key: u8,
        size: usize,
    },
    Erase {
        who: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3usize, 0..3usize, 0..6u8, 0..6_000usize)
            .prop_map(|(who, table, key, size)| Op::Put { who, table, key, size }),
        3 => (0..3usize, 0..3usize, 0..6u8).prop_map(|(who, table, key)| Op::Delete { who, table, key }),
        1 => (0..3usize, 0..6u8, 0..100usize).prop_map(|(who, key, size)| Op::Undone { who, key, size }),
        1 => (0..3usize).prop_map(|who| Op::Erase { who }),
    ]
}

const TABLES: [Table; 3] = [THINGS, OTHERS, EVENTS];
const TAG: usize = 16;

/// What each should hold: by owner, table and key, the size of the value.
type Model = BTreeMap<(usize, usize, u8), usize>;

fn expected(model: &Model, who: usize, table: usize) -> Usage {
    let sizes =
        model.iter().filter(|((w, t, _), _)| (*w, *t) == (who, table)).map(|(_, size)| size);
    sizes.fold(Usage::default(), |sum, size| {
        sum.plus(Usage { rows: 1, bytes: (1 + TAG + size) as u64 })
    })
}

async fn run(store: &Store, scopes: &[Scope<Write>], ops: Vec<Op>) {
    let (mut model, mut erased) = (Model::new(), [false; 3]);
    for op in ops {
        match op {
            Op::Put { who, table, key, size } => {
                let view = store.of(&scopes[who]);
                let put = view.put(TABLES[table], &[key], &vec![key; size]).await;
                assert_eq!(put.is_err(), erased[who], "{put:?}");
                if put.is_ok() {
                    model.insert((who, table, key), size);
                }
            }
            Op::Delete { who, table, key } => {
                let there = store.of(&scopes[who]).delete(TABLES[table], &[key]).await.unwrap();
                assert_eq!(there, model.remove(&(who, table, key)).is_some());
            }
            Op::Undone { who, key, size } => {
                let undone = store.of(&scopes[who]).write(File::Core, size, move |txn| {
                    txn.put(THINGS, &[key], &vec![9; size])?;
                    txn.delete(OTHERS, &[key])?;
                    Err::<(), _>(Error::Busy)
                });
                assert!(undone.await.is_err());
            }
            Op::Erase { who } => {
                erased[who] = true;
                let removed = store.of(&scopes[who]).erase_all().await.unwrap().total();
                let all = (0..3).map(|table| expected(&model, who, table));
                assert_eq!(removed, all.fold(Usage::default(), Usage::plus));
                model.retain(|(w, ..), _| *w != who);
            }
        }
    }
    for (who, scope) in scopes.iter().enumerate() {
        for (at, table) in TABLES.into_iter().enumerate() {
            let usage = store.of(scope).usage(table).await.unwrap();
            assert_eq!(usage, expected(&model, who, at), "{who} {}", table.name);
            let rows = store.of(scope).scan(table, Range::all()).await.unwrap();
            let keys: Vec<u8> = rows.iter().map(|(key, _)| key[0]).collect();
            let held =
                model.keys().filter(|(w, t, _)| (*w, *t) == (who, at)).map(|(_, _, key)| *key);
            assert_eq!(keys, held.collect::<Vec<_>>());
        }
    }
    store.check_integrity(&system(), Depth::Full).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn figures_are_exact(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let scopes = [
                world.kit.scope("acme", "live").await,
                world.kit.scope("acme", "staging").await,
                world.kit.scope("globex", "live").await,
            ];
            run(&world.open(), &scopes, ops).await;
        });
    }
}

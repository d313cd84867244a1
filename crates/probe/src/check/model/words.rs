//! Words, each of which is one token to most models, so that texts of them have a known length.

use std::sync::LazyLock;

use ids::Entropy as _;

/// All of them, each once.
const ALL: &str = "\
    able above acid across actor adult after again agent album alert alley allow alone amber \
    angle animal ankle apple april arena armor arrow aside autumn award basic basket beach \
    bell berry bicycle bird birth blanket board boat bonus border bottle branch bread bridge \
    bright brother brush budget butter cabin cable camel camera canal candle captain carbon \
    carpet castle cattle cedar center chair chalk cheese cherry choice church circle citizen \
    city clean clever climate clock cloud coast coffee collar column comfort copper corner \
    cotton country cousin cream credit cricket crown crystal cup curtain custom danger \
    daughter debate degree delta desert detail diamond dinner doctor dolphin double dragon \
    drama drawer dream driver eagle earth east eight elbow elder engine entry equal error \
    evening event exact fabric factory family famous farmer father feather fence fiber field \
    figure final finger fire flag flame flight floor flower forest fork fresh friend frost \
    fruit future galaxy garden garlic gentle ghost giant ginger glass globe gold grain grand \
    grape green guest guide guitar habit hammer harbor hazel heart heaven height hello \
    hidden hill honest honey horse hotel hunter island ivory jacket jazz journal judge juice \
    jungle kettle kitchen ladder lamp large lemon level library light linen lion little \
    local lunar magic maple marble market master meadow medal melody metal middle mirror \
    model moment monkey morning mother motor mountain museum music narrow nation nature \
    needle nephew night noble north novel number ocean olive onion orange orbit orchard \
    order oxygen paint palace panda paper parade pearl pencil people pepper piano picture \
    pilot pine planet plastic plate pocket poem polar pond prince proof purple puzzle \
    quarter queen quiet rabbit radio rapid raven reason record region ribbon river robin \
    rocket royal rubber saddle salad salmon sample sandy school season second shadow sharp \
    silent silver simple singer sister smooth social south spider spirit spring square \
    stable station steel stone storm story street sugar summer sunset supper table talent \
    tango target teacher temple";

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| ALL.split_whitespace().collect());

/// So many of them, drawn anew: nobody sent this text before, not even an earlier run.
pub(in crate::check) fn some(count: usize) -> String {
    let mut rng = fresh();
    let drawn = (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]);
    drawn.collect::<Vec<_>>().join(" ")
}

/// The word of this number; they come round.
pub(in crate::check) fn at(number: usize) -> &'static str {
    WORDS[number % WORDS.len()]
}

/// By the system's entropy, not by the run's seed: caches outlive runs, and a text that was sent
/// in an earlier one would not be new.
fn fresh() -> fastrand::Rng {
    let mut seed = [0; 8];
    ids::OsEntropy.fill(&mut seed);
    fastrand::Rng::with_seed(u64::from_le_bytes(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_new_every_time() {
        assert!(WORDS.len() > 300);
        assert_ne!(some(12), some(12));
        assert_eq!(some(5).split(' ').count(), 5);
        let distinct: std::collections::BTreeSet<_> = WORDS.iter().collect();
        assert_eq!(distinct.len(), WORDS.len());
        assert_eq!(at(0), at(WORDS.len()));
    }
}

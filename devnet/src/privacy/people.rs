//! People that nobody is: attributes from a seed, as an issuer holds them. Nothing of them may be found anywhere else.

use sillok_consensus::testing::Random;

/// A person as the issuer's register knows it.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    /// What is written, by what it is. The first is the number in the register.
    pub(super) texts: Vec<(&'static str, String)>,
}

/// What each person has, in the order of [`Attributes::texts`].
pub(super) const KINDS: [&str; 11] = [
    "national number",
    "national number, digits",
    "name",
    "romanized name",
    "phone",
    "phone, international",
    "e-mail",
    "birth date",
    "address",
    "new address",
    "document number",
];

/// Two syllables, so that a name is long enough to be no accident.
const FAMILIES: [(&str, &str); 8] = [
    ("남궁", "Namgung"),
    ("황보", "Hwangbo"),
    ("제갈", "Jegal"),
    ("사공", "Sagong"),
    ("선우", "Seonu"),
    ("서문", "Seomun"),
    ("독고", "Dokgo"),
    ("동방", "Dongbang"),
];
const SYLLABLES: [(&str, &str); 20] = [
    ("민", "min"),
    ("서", "seo"),
    ("준", "jun"),
    ("지", "ji"),
    ("우", "u"),
    ("현", "hyeon"),
    ("수", "su"),
    ("영", "yeong"),
    ("은", "eun"),
    ("호", "ho"),
    ("경", "gyeong"),
    ("진", "jin"),
    ("석", "seok"),
    ("연", "yeon"),
    ("태", "tae"),
    ("아", "a"),
    ("범", "beom"),
    ("혜", "hye"),
    ("찬", "chan"),
    ("란", "ran"),
];
const STREETS: [&str; 8] = [
    "종로구 세종대로",
    "중구 을지로",
    "마포구 월드컵로",
    "강남구 테헤란로",
    "노원구 동일로",
    "관악구 신림로",
    "송파구 올림픽로",
    "은평구 통일로",
];

fn address(random: &mut Random) -> String {
    format!(
        "{}동 {}호, 서울특별시 {} {}",
        random.between(101, 139),
        random.between(101, 2_904),
        STREETS[random.index(STREETS.len())],
        random.between(1, 999)
    )
}

/// The `nth` person of a seed: no two have a number in common.
pub(super) fn person(nth: usize, random: &mut Random) -> Attributes {
    let (family, romanized) = FAMILIES[random.index(FAMILIES.len())];
    let (one, one_romanized) = SYLLABLES[random.index(SYLLABLES.len())];
    let (two, two_romanized) = SYLLABLES[random.index(SYLLABLES.len())];
    let (year, month, day) =
        (random.between(1940, 1999), random.between(1, 12), random.between(1, 28));
    let serial = 1_000_000 + (nth * 7 + 3) % 2_000_000;
    let short = format!("{:02}{month:02}{day:02}", year % 100);
    let (middle, last) = (random.between(2_000, 9_999), nth % 10_000);
    let email = format!("{romanized}.{one_romanized}{two_romanized}{nth}@mail.example");
    let texts = [
        format!("{short}-{serial}"),
        format!("{short}{serial}"),
        format!("{family}{one}{two}"),
        format!("{romanized} {one_romanized}{two_romanized}"),
        format!("010-{middle}-{last:04}"),
        format!("+8210{middle}{last:04}"),
        email.to_lowercase(),
        format!("{year}-{month:02}-{day:02}"),
        address(random),
        address(random),
        format!("M{:08}", 10_000_000 + random.below(89_999_999)),
    ];
    Attributes { texts: KINDS.into_iter().zip(texts).collect() }
}

impl Attributes {
    /// The credential that an issuer would hand to the phone, outside of this network.
    pub(super) fn credential(&self, moved: bool) -> serde_json::Value {
        let text = |kind: &str| {
            self.texts.iter().find(|(one, _)| *one == kind).map(|(_, text)| text.clone())
        };
        serde_json::json!({
            "name": text("name"),
            "nationalNumber": text("national number"),
            "birthDate": text("birth date"),
            "phone": text("phone"),
            "email": text("e-mail"),
            "address": text(if moved { "new address" } else { "address" }),
            "documentNumber": text("document number"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everybody_has_everything_and_a_number_of_their_own() {
        let mut random = Random::new(5);
        let mut numbers = BTreeSet::new();
        for nth in 0..10_000 {
            let one = person(nth, &mut random);
            assert_eq!(one.texts.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), KINDS);
            assert!(one.texts.iter().all(|(_, text)| text.chars().count() >= 4));
            numbers.insert(one.texts[1].1.clone());
        }
        // One in a while has another's birth date and serial; the serial alone is nobody else's.
        assert_eq!(numbers.len(), 10_000);
        assert_ne!(person(1, &mut Random::new(5)).texts, person(1, &mut Random::new(6)).texts);
    }
}

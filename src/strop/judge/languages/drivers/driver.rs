
// Calls functions of the program: a request a line on descriptor 3, [name, arguments]; a reply a line.
fn main() {
    strop_driver::serve(|name: &str, arguments: Vec<strop_driver::Json>| -> Result<String, String> {
        #[allow(unused_mut)]
        match name {
// FUNCTIONS
            _ => Err("no such function".to_string()),
        }
    })
}

mod strop_driver {
    use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
    use std::hash::Hash;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::io::FromRawFd;

    pub enum Json {
        Null,
        Bool(bool),
        Number(String),
        Text(String),
        List(Vec<Json>),
        Object(Vec<(String, Json)>),
    }

    pub struct Reader<'a> {
        text: &'a [u8],
        at: usize,
    }

    impl<'a> Reader<'a> {
        fn space(&mut self) {
            while self.at < self.text.len() && self.text[self.at] == b' ' {
                self.at += 1;
            }
        }
        fn hex(&mut self) -> u32 {
            let digits = std::str::from_utf8(&self.text[self.at..self.at + 4]).unwrap();
            self.at += 4;
            u32::from_str_radix(digits, 16).unwrap()
        }
        fn string(&mut self) -> String {
            let mut out: Vec<u8> = Vec::new();
            self.at += 1;
            while self.text[self.at] != b'"' {
                let c = self.text[self.at];
                self.at += 1;
                if c != b'\\' {
                    out.push(c);
                    continue;
                }
                let escaped = self.text[self.at];
                self.at += 1;
                match escaped {
                    b'n' => out.push(b'\n'),
                    b't' => out.push(b'\t'),
                    b'r' => out.push(b'\r'),
                    b'b' => out.push(8),
                    b'f' => out.push(12),
                    b'u' => {
                        let mut code = self.hex();
                        if (0xD800..0xDC00).contains(&code) && self.text[self.at] == b'\\' {
                            self.at += 2;
                            let low = self.hex();
                            code = 0x10000 + ((code - 0xD800) << 10) + low.wrapping_sub(0xDC00);
                        }
                        let letter = char::from_u32(code).unwrap_or('\u{FFFD}');
                        out.extend(letter.to_string().as_bytes());
                    }
                    other => out.push(other),
                }
            }
            self.at += 1;
            String::from_utf8_lossy(&out).into_owned()
        }
        fn value(&mut self) -> Json {
            self.space();
            match self.text[self.at] {
                b'"' => Json::Text(self.string()),
                b'[' => {
                    let mut items = Vec::new();
                    self.at += 1;
                    self.space();
                    while self.text[self.at] != b']' {
                        items.push(self.value());
                        self.space();
                        if self.text[self.at] == b',' {
                            self.at += 1;
                            self.space();
                        }
                    }
                    self.at += 1;
                    Json::List(items)
                }
                b'{' => {
                    let mut items = Vec::new();
                    self.at += 1;
                    self.space();
                    while self.text[self.at] != b'}' {
                        let key = self.string();
                        self.space();
                        self.at += 1;
                        items.push((key, self.value()));
                        self.space();
                        if self.text[self.at] == b',' {
                            self.at += 1;
                            self.space();
                        }
                    }
                    self.at += 1;
                    Json::Object(items)
                }
                _ => {
                    let start = self.at;
                    while self.at < self.text.len() && !b" ,]}\n".contains(&self.text[self.at]) {
                        self.at += 1;
                    }
                    match std::str::from_utf8(&self.text[start..self.at]).unwrap() {
                        "null" => Json::Null,
                        "true" => Json::Bool(true),
                        "false" => Json::Bool(false),
                        number => Json::Number(number.to_string()),
                    }
                }
            }
        }
    }

    // ---- from JSON

    pub trait From_: Sized {
        fn from_json(json: &Json) -> Option<Self>;
    }

    macro_rules! numbers {
        ($($kind:ty),*) => {$(
            impl From_ for $kind {
                fn from_json(json: &Json) -> Option<Self> {
                    if let Json::Number(text) = json { text.parse().ok() } else { None }
                }
            }
            impl To for $kind {
                fn write(&self, out: &mut String) { out.push_str(&self.to_string()) }
            }
        )*};
    }
    numbers!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);

    macro_rules! floats {
        ($($kind:ty),*) => {$(
            impl From_ for $kind {
                fn from_json(json: &Json) -> Option<Self> {
                    if let Json::Number(text) = json { text.parse().ok() } else { None }
                }
            }
            impl To for $kind {
                fn write(&self, out: &mut String) {
                    if self.is_nan() { out.push_str("{\"n\":\"nan\"}") }
                    else if self.is_infinite() { out.push_str(if *self > 0.0 { "{\"n\":\"inf\"}" } else { "{\"n\":\"-inf\"}" }) }
                    else { out.push_str(&format!("{:?}", self)) }
                }
            }
        )*};
    }
    floats!(f32, f64);

    impl From_ for bool {
        fn from_json(json: &Json) -> Option<Self> {
            if let Json::Bool(value) = json { Some(*value) } else { None }
        }
    }
    impl From_ for String {
        fn from_json(json: &Json) -> Option<Self> {
            if let Json::Text(text) = json { Some(text.clone()) } else { None }
        }
    }
    impl From_ for &'static str {
        fn from_json(json: &Json) -> Option<Self> {
            String::from_json(json).map(|text| &*Box::leak(text.into_boxed_str()))
        }
    }
    impl From_ for char {
        fn from_json(json: &Json) -> Option<Self> {
            if let Json::Text(text) = json { text.chars().next() } else { None }
        }
    }
    impl<T: From_> From_ for Option<T> {
        fn from_json(json: &Json) -> Option<Self> {
            if let Json::Null = json { Some(None) } else { T::from_json(json).map(Some) }
        }
    }
    fn items<T: From_, C: FromIterator<T>>(json: &Json) -> Option<C> {
        if let Json::List(items) = json { items.iter().map(T::from_json).collect() } else { None }
    }
    fn pairs<K: From_, V: From_, C: FromIterator<(K, V)>>(json: &Json) -> Option<C> {
        let Json::Object(items) = json else { return None };
        items
            .iter()
            .map(|(key, value)| {
                let key = K::from_json(&Json::Text(key.clone())).or_else(|| K::from_json(&Json::Number(key.clone())))?;
                Some((key, V::from_json(value)?))
            })
            .collect()
    }
    impl<T: From_> From_ for Vec<T> {
        fn from_json(json: &Json) -> Option<Self> { items(json) }
    }
    impl<T: From_> From_ for VecDeque<T> {
        fn from_json(json: &Json) -> Option<Self> { items(json) }
    }
    impl<T: From_ + Eq + Hash> From_ for HashSet<T> {
        fn from_json(json: &Json) -> Option<Self> { items(json) }
    }
    impl<T: From_ + Ord> From_ for BTreeSet<T> {
        fn from_json(json: &Json) -> Option<Self> { items(json) }
    }
    impl<K: From_ + Eq + Hash, V: From_> From_ for HashMap<K, V> {
        fn from_json(json: &Json) -> Option<Self> { pairs(json) }
    }
    impl<K: From_ + Ord, V: From_> From_ for BTreeMap<K, V> {
        fn from_json(json: &Json) -> Option<Self> { pairs(json) }
    }
    impl<T: From_, const N: usize> From_ for [T; N] {
        fn from_json(json: &Json) -> Option<Self> { items::<T, Vec<T>>(json)?.try_into().ok() }
    }

    // ---- to JSON

    pub trait To {
        fn write(&self, out: &mut String);
    }

    fn list<'a, T: To + ?Sized + 'a>(out: &mut String, items: impl Iterator<Item = &'a T>) {
        out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                out.push(',');
            }
            item.write(out);
        }
        out.push(']');
    }
    impl To for () {
        fn write(&self, out: &mut String) { out.push_str("null") }
    }
    impl To for bool {
        fn write(&self, out: &mut String) { out.push_str(if *self { "true" } else { "false" }) }
    }
    impl To for str {
        fn write(&self, out: &mut String) {
            out.push('"');
            for letter in self.chars() {
                match letter {
                    '"' | '\\' => { out.push('\\'); out.push(letter) }
                    c if (c as u32) < 32 => out.push_str(&format!("\\u{:04x}", c as u32)),
                    c => out.push(c),
                }
            }
            out.push('"');
        }
    }
    impl To for String {
        fn write(&self, out: &mut String) { self.as_str().write(out) }
    }
    impl To for char {
        fn write(&self, out: &mut String) { self.to_string().write(out) }
    }
    impl<T: To + ?Sized> To for &T {
        fn write(&self, out: &mut String) { (**self).write(out) }
    }
    impl<T: To + ?Sized> To for Box<T> {
        fn write(&self, out: &mut String) { (**self).write(out) }
    }
    impl<T: To> To for Option<T> {
        fn write(&self, out: &mut String) {
            match self { Some(value) => value.write(out), None => out.push_str("null") }
        }
    }
    impl<T: To, E: std::fmt::Debug> To for Result<T, E> {
        fn write(&self, out: &mut String) {
            match self { Ok(value) => value.write(out), Err(error) => panic!("{:?}", error) }
        }
    }
    impl<T: To> To for [T] {
        fn write(&self, out: &mut String) { list(out, self.iter()) }
    }
    impl<T: To> To for Vec<T> {
        fn write(&self, out: &mut String) { list(out, self.iter()) }
    }
    impl<T: To> To for VecDeque<T> {
        fn write(&self, out: &mut String) { list(out, self.iter()) }
    }
    impl<T: To, const N: usize> To for [T; N] {
        fn write(&self, out: &mut String) { list(out, self.iter()) }
    }
    impl<T: To> To for HashSet<T> {
        fn write(&self, out: &mut String) { out.push_str("{\"s\":"); list(out, self.iter()); out.push('}') }
    }
    impl<T: To> To for BTreeSet<T> {
        fn write(&self, out: &mut String) { out.push_str("{\"s\":"); list(out, self.iter()); out.push('}') }
    }
    fn map<'a, K: To + 'a, V: To + 'a>(out: &mut String, items: impl Iterator<Item = (&'a K, &'a V)>) {
        out.push_str("{\"d\":[");
        for (index, (key, value)) in items.enumerate() {
            if index > 0 {
                out.push(',');
            }
            key.write(out);
            out.push(',');
            value.write(out);
        }
        out.push_str("]}");
    }
    impl<K: To, V: To> To for HashMap<K, V> {
        fn write(&self, out: &mut String) { map(out, self.iter()) }
    }
    impl<K: To, V: To> To for BTreeMap<K, V> {
        fn write(&self, out: &mut String) { map(out, self.iter()) }
    }
    macro_rules! tuples {
        ($(($($name:ident $index:tt),+)),*) => {$(
            impl<$($name: From_),+> From_ for ($($name,)+) {
                fn from_json(json: &Json) -> Option<Self> {
                    let Json::List(items) = json else { return None };
                    Some(($($name::from_json(items.get($index)?)?,)+))
                }
            }
            impl<$($name: To),+> To for ($($name,)+) {
                fn write(&self, out: &mut String) {
                    out.push('[');
                    $(if $index > 0 { out.push(','); } self.$index.write(out);)+
                    out.push(']');
                }
            }
        )*};
    }
    tuples!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4));

    // ---- the channel

    pub fn argument<T: From_>(arguments: &[Json], index: usize) -> Result<T, String> {
        let json = arguments.get(index).ok_or("the function takes more arguments")?;
        T::from_json(json).ok_or_else(|| "an argument does not fit the function's parameter".to_string())
    }

    pub fn answer<T: To + ?Sized>(value: &T) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    pub fn serve(call: impl Fn(&str, Vec<Json>) -> Result<String, String>) {
        let mut channel = unsafe { std::fs::File::from_raw_fd(3) };
        let lines = BufReader::new(channel.try_clone().expect("the channel"));
        for line in lines.lines() {
            let Ok(line) = line else { return };
            let Json::List(mut request) = (Reader { text: line.as_bytes(), at: 0 }).value() else { return };
            let (Some(Json::List(arguments)), Some(Json::Text(name))) = (request.pop(), request.pop()) else { return };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(&name, arguments)));
            let problem = match done {
                Ok(Ok(value)) => {
                    let _ = channel.write_all(format!("[\"v\",{}]\n", value).as_bytes());
                    continue;
                }
                Ok(Err(text)) => text,
                Err(panic) => panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
                    .unwrap_or_else(|| "panicked".to_string()),
            };
            let _ = channel.write_all(format!("[\"e\",[\"panic\"],null,{},null]\n", answer(&problem)).as_bytes());
        }
    }
}

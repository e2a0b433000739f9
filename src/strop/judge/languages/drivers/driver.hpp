// Calls functions of the program: a request a line on descriptor 3, [name, arguments]; a reply a line.
// Arguments and results take the types that the function itself declares.
#include <unistd.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <exception>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace strop {

// ---- JSON

struct Json {
  enum Kind { null, boolean, number, text, list, object } kind = null;
  std::string word;  // of a number, a text, or "true"
  std::vector<Json> items;
  std::vector<std::string> keys;
};

struct Bad : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Reader {
  const char* at;
  void space() {
    while (*at == ' ') at++;
  }
  static void append(std::string& out, unsigned code) {
    if (code < 0x80) {
      out += char(code);
    } else if (code < 0x800) {
      out += char(0xC0 | code >> 6), out += char(0x80 | (code & 63));
    } else if (code < 0x10000) {
      out += char(0xE0 | code >> 12), out += char(0x80 | (code >> 6 & 63)), out += char(0x80 | (code & 63));
    } else {
      out += char(0xF0 | code >> 18), out += char(0x80 | (code >> 12 & 63));
      out += char(0x80 | (code >> 6 & 63)), out += char(0x80 | (code & 63));
    }
  }
  unsigned hex() {
    unsigned code = 0;
    for (int i = 0; i < 4; i++, at++) code = code * 16 + (*at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10);
    return code;
  }
  std::string string() {
    std::string out;
    for (at++; *at != '"'; at++) {
      if (*at != '\\') {
        out += *at;
        continue;
      }
      switch (*++at) {
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'r': out += '\r'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'u': {
          at++;
          unsigned code = hex();
          if (code >= 0xD800 && code < 0xDC00 && at[0] == '\\' && at[1] == 'u') {
            at += 2;
            code = 0x10000 + ((code - 0xD800) << 10) + (hex() - 0xDC00);
          }
          append(out, code);
          at--;
          break;
        }
        default: out += *at;
      }
    }
    at++;
    return out;
  }
  Json value() {
    Json made;
    space();
    if (*at == '"') {
      made.kind = Json::text, made.word = string();
    } else if (*at == '[' || *at == '{') {
      bool pairs = *at++ == '{';
      made.kind = pairs ? Json::object : Json::list;
      for (space(); *at != ']' && *at != '}'; space()) {
        if (pairs) {
          made.keys.push_back(string());
          space();
          at++;  // the colon
        }
        made.items.push_back(value());
        space();
        if (*at == ',') at++, space();
      }
      at++;
    } else {
      while (*at && !std::strchr(" ,]}", *at)) made.word += *at++;
      char first = made.word.empty() ? 'n' : made.word[0];
      made.kind = first == 'n' ? Json::null : first == 't' || first == 'f' ? Json::boolean : Json::number;
    }
    return made;
  }
};

// ---- from JSON

template <class T, class = void>
struct From {
  static_assert(sizeof(T) == 0, "the judge cannot make an argument of this type");
};

template <class T>
T from(const Json& json) {
  return From<T>::get(json);
}

inline void need(const Json& json, Json::Kind kind) {
  if (json.kind != kind) throw Bad("an argument does not fit the function's parameter");
}

template <>
struct From<bool> {
  static bool get(const Json& json) {
    need(json, Json::boolean);
    return json.word == "true";
  }
};
template <>
struct From<char> {
  static char get(const Json& json) {
    need(json, Json::text);
    return json.word.empty() ? 0 : json.word[0];
  }
};
template <class T>
struct From<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>>> {
  static T get(const Json& json) {
    if (json.kind == Json::boolean) return json.word == "true";
    need(json, Json::number);
    T value{};
    auto [end, error] = std::from_chars(json.word.data(), json.word.data() + json.word.size(), value);
    if (error != std::errc() || end != json.word.data() + json.word.size())
      throw Bad("the argument " + json.word + " does not fit the function's parameter");
    return value;
  }
};
template <class T>
struct From<T, std::enable_if_t<std::is_floating_point_v<T>>> {
  static T get(const Json& json) {
    need(json, Json::number);
    return T(std::strtold(json.word.c_str(), nullptr));
  }
};
template <>
struct From<std::string> {
  static std::string get(const Json& json) {
    need(json, Json::text);
    return json.word;
  }
};
template <class T>
struct From<std::optional<T>> {
  static std::optional<T> get(const Json& json) {
    if (json.kind == Json::null) return std::nullopt;
    return from<T>(json);
  }
};
template <class A, class B>
struct From<std::pair<A, B>> {
  static std::pair<A, B> get(const Json& json) {
    need(json, Json::list);
    if (json.items.size() != 2) throw Bad("a pair was due");
    return {from<A>(json.items[0]), from<B>(json.items[1])};
  }
};
template <class... T>
struct From<std::tuple<T...>> {
  template <std::size_t... I>
  static std::tuple<T...> make(const Json& json, std::index_sequence<I...>) {
    return {from<T>(json.items[I])...};
  }
  static std::tuple<T...> get(const Json& json) {
    need(json, Json::list);
    if (json.items.size() != sizeof...(T)) throw Bad("a tuple has another length");
    return make(json, std::index_sequence_for<T...>());
  }
};
template <class T, std::size_t N>
struct From<std::array<T, N>> {
  static std::array<T, N> get(const Json& json) {
    need(json, Json::list);
    std::array<T, N> made{};
    for (std::size_t i = 0; i < N && i < json.items.size(); i++) made[i] = from<T>(json.items[i]);
    return made;
  }
};
template <class C>
struct FromItems {
  static C get(const Json& json) {
    need(json, Json::list);
    C made;
    for (const Json& item : json.items) made.insert(made.end(), from<typename C::value_type>(item));
    return made;
  }
};
template <class T> struct From<std::vector<T>> : FromItems<std::vector<T>> {};
template <class T> struct From<std::deque<T>> : FromItems<std::deque<T>> {};
template <class T> struct From<std::list<T>> : FromItems<std::list<T>> {};
template <class T> struct From<std::set<T>> : FromItems<std::set<T>> {};
template <class T> struct From<std::multiset<T>> : FromItems<std::multiset<T>> {};
template <class T> struct From<std::unordered_set<T>> : FromItems<std::unordered_set<T>> {};
template <class M>
struct FromPairs {
  static M get(const Json& json) {
    need(json, Json::object);
    M made;
    for (std::size_t i = 0; i < json.items.size(); i++) {
      Json key;
      bool text = std::is_same_v<typename M::key_type, std::string> || std::is_same_v<typename M::key_type, char>;
      key.kind = text ? Json::text : Json::number, key.word = json.keys[i];
      made.emplace(from<typename M::key_type>(key), from<typename M::mapped_type>(json.items[i]));
    }
    return made;
  }
};
template <class K, class V> struct From<std::map<K, V>> : FromPairs<std::map<K, V>> {};
template <class K, class V> struct From<std::unordered_map<K, V>> : FromPairs<std::unordered_map<K, V>> {};

// ---- to JSON

inline void write(std::string& out, bool value) { out += value ? "true" : "false"; }

inline void write(std::string& out, const std::string& value) {
  out += '"';
  for (unsigned char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\', out += char(c);
    } else if (c < 32) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += char(c);
    }
  }
  out += '"';
}
inline void write(std::string& out, char value) { write(out, std::string(1, value)); }
inline void write(std::string& out, const char* value) {
  if (value) write(out, std::string(value));
  else out += "null";
}
inline void write(std::string& out, char* value) { write(out, static_cast<const char*>(value)); }

template <class T, std::enable_if_t<std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>, int> = 0>
void write(std::string& out, T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) return void(out += "{\"n\":\"nan\"}");
    if (std::isinf(value)) return void(out += value > 0 ? "{\"n\":\"inf\"}" : "{\"n\":\"-inf\"}");
  }
  char digits[64];
  auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}
template <class A, class B> void write(std::string& out, const std::pair<A, B>& value);
template <class... T> void write(std::string& out, const std::tuple<T...>& value);
template <class T> void write(std::string& out, const std::optional<T>& value);
template <class C> auto write(std::string& out, const C& value) -> decltype(value.begin(), void());

template <class A, class B>
void write(std::string& out, const std::pair<A, B>& value) {
  out += '[', write(out, value.first), out += ',', write(out, value.second), out += ']';
}
template <class... T>
void write(std::string& out, const std::tuple<T...>& value) {
  out += '[';
  std::apply([&](const auto&... part) {
    bool first = true;
    ((out += first ? "" : ",", first = false, write(out, part)), ...);
  }, value);
  out += ']';
}
template <class T>
void write(std::string& out, const std::optional<T>& value) {
  if (value) write(out, *value);
  else out += "null";
}
template <class C, class = void> struct IsMap : std::false_type {};
template <class C> struct IsMap<C, std::void_t<typename C::mapped_type>> : std::true_type {};
template <class C, class = void> struct IsSet : std::false_type {};
template <class C> struct IsSet<C, std::void_t<typename C::key_type>> : std::true_type {};

template <class C>
auto write(std::string& out, const C& value) -> decltype(value.begin(), void()) {
  bool first = true;
  out += IsMap<C>::value ? "{\"d\":[" : IsSet<C>::value ? "{\"s\":[" : "[";
  for (const auto& item : value) {
    out += first ? "" : ",";
    first = false;
    if constexpr (IsMap<C>::value) {
      write(out, item.first), out += ',', write(out, item.second);
    } else {
      write(out, static_cast<const typename C::value_type&>(item));
    }
  }
  out += IsSet<C>::value ? "]}" : "]";
}

// ---- calling

// Takes arguments one after the other. A pointer takes a list (its elements live in `kept`), and when there are fewer
// arguments than parameters, the integer after it is the list's length.
struct Feed {
  const std::vector<Json>& given;
  bool lengths;
  std::size_t at = 0;
  std::optional<std::size_t> length;
  std::deque<std::vector<char>> kept;
  void* out_length = nullptr;

  const Json& next() {
    if (at >= given.size()) throw Bad("the function takes more arguments");
    return given[at++];
  }
  void* keep(std::size_t bytes) {
    kept.emplace_back(bytes + 16);
    return kept.back().data();
  }
  template <class P>
  auto take() {
    using T = std::decay_t<P>;
    if constexpr (std::is_pointer_v<T>) {
      using E = std::remove_cv_t<std::remove_pointer_t<T>>;
      if constexpr (std::is_same_v<E, char>) {
        const std::string text = from<std::string>(next());
        char* made = static_cast<char*>(keep(text.size() + 1));
        std::memcpy(made, text.c_str(), text.size() + 1);
        return static_cast<T>(made);
      } else if (lengths && at == given.size()) {
        out_length = keep(sizeof(E));
        return static_cast<T>(static_cast<E*>(out_length));
      } else {
        const Json& list = next();
        need(list, Json::list);
        E* made = static_cast<E*>(keep(sizeof(E) * list.items.size()));
        for (std::size_t i = 0; i < list.items.size(); i++) {
          if constexpr (std::is_pointer_v<E>) {
            Feed inner{list.items, false, i, {}, {}, nullptr};
            made[i] = inner.take<E>();
            for (auto& part : inner.kept) kept.push_back(std::move(part));
          } else {
            made[i] = from<E>(list.items[i]);
          }
        }
        length = list.items.size();
        return static_cast<T>(made);
      }
    } else {
      if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>) {
        if (lengths && length) {
          T value = T(*length);
          length.reset();
          return value;
        }
      }
      length.reset();
      return from<T>(next());
    }
  }
};

template <class T>
void write_array(std::string& out, const T* values, std::size_t count) {
  out += '[';
  for (std::size_t i = 0; i < count; i++) {
    if (i) out += ',';
    write(out, values[i]);
  }
  out += ']';
}

template <class R, class... P>
std::string call(R (*function)(P...), const std::vector<Json>& given) {
  if (given.size() > sizeof...(P)) throw Bad("the function takes fewer arguments");
  Feed feed{given, given.size() < sizeof...(P), 0, {}, {}, nullptr};
  std::tuple<std::decay_t<P>...> values{feed.take<P>()...};
  if (feed.at != given.size()) throw Bad("the function takes fewer arguments");
  auto invoke = [&](auto&... value) -> R { return function(static_cast<P>(value)...); };
  std::string out;
  if constexpr (std::is_void_v<R>) {
    std::apply(invoke, values);
    if constexpr (sizeof...(P) > 0) {  // what the function did to its first argument
      using First = std::tuple_element_t<0, std::tuple<P...>>;
      if constexpr (std::is_pointer_v<First>) {
        if constexpr (std::is_same_v<std::remove_pointer_t<First>, char>) write(out, std::get<0>(values));
        else write_array(out, std::get<0>(values), given[0].items.size());
      } else if constexpr (std::is_lvalue_reference_v<First> && !std::is_const_v<std::remove_reference_t<First>>) {
        write(out, std::get<0>(values));
      }
    }
    if (out.empty()) out = "null";
  } else if constexpr (std::is_pointer_v<R> && !std::is_same_v<std::remove_cv_t<std::remove_pointer_t<R>>, char>) {
    R made = std::apply(invoke, values);
    int count = 0;
    if (!feed.out_length) throw Bad("a function that returns a pointer needs a last parameter for the length");
    std::memcpy(&count, feed.out_length, sizeof count);
    write_array(out, made, count);
  } else {
    write(out, std::apply(invoke, values));
  }
  return out;
}

// ---- the channel

inline void send(const std::string& line) {
  for (std::size_t at = 0; at < line.size();) {
    ssize_t count = ::write(3, line.data() + at, line.size() - at);
    if (count <= 0) _exit(70);
    at += count;
  }
}

template <class Find>
int serve(Find find) {
  std::string rest;
  char piece[1 << 16];
  for (;;) {
    std::size_t end = rest.find('\n');
    if (end == std::string::npos) {
      ssize_t count = ::read(3, piece, sizeof piece);
      if (count <= 0) return 0;
      rest.append(piece, count);
      continue;
    }
    std::string line = rest.substr(0, end), reply;
    rest.erase(0, end + 1);
    Json request = Reader{line.c_str()}.value();
    try {
      reply = "[\"v\"," + find(request.items[0].word, request.items[1].items) + "]\n";
    } catch (const std::exception& error) {
      reply = "[\"e\",[\"exception\"],null,";
      write(reply, std::string(error.what()).substr(0, 400));
      reply += ",null]\n";
    } catch (...) {
      reply = "[\"e\",[\"exception\"],null,\"not a std::exception\",null]\n";
    }
    std::fflush(stdout);
    send(reply);
  }
}

}  // namespace strop

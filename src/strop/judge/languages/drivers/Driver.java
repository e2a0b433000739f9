// Calls methods of the program: a request a line on descriptor 3, [name, arguments]; a reply a line.

import java.io.*;
import java.lang.reflect.*;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.*;

class StropDriver {
    static final String[] CLASSES = {/* CLASSES */};

    // ---- JSON

    static class Reader {
        final String text;
        int at = 0;

        Reader(String text) { this.text = text; }

        void space() { while (at < text.length() && text.charAt(at) == ' ') at++; }

        String string() {
            StringBuilder out = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                char c = text.charAt(at);
                if (c != '\\') { out.append(c); continue; }
                c = text.charAt(++at);
                switch (c) {
                    case 'n': out.append('\n'); break;
                    case 't': out.append('\t'); break;
                    case 'r': out.append('\r'); break;
                    case 'b': out.append('\b'); break;
                    case 'f': out.append('\f'); break;
                    case 'u': out.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16)); at += 4; break;
                    default: out.append(c);
                }
            }
            at++;
            return out.toString();
        }

        Object value() {
            space();
            char c = text.charAt(at);
            if (c == '"') return string();
            if (c == '[' || c == '{') {
                List<Object> items = new ArrayList<>();
                Map<String, Object> pairs = new LinkedHashMap<>();
                at++;
                for (space(); text.charAt(at) != ']' && text.charAt(at) != '}'; space()) {
                    if (c == '{') {
                        String key = string();
                        space();
                        at++;
                        pairs.put(key, value());
                    } else {
                        items.add(value());
                    }
                    space();
                    if (text.charAt(at) == ',') { at++; space(); }
                }
                at++;
                return c == '[' ? items : pairs;
            }
            int start = at;
            while (at < text.length() && " ,]}".indexOf(text.charAt(at)) < 0) at++;
            String word = text.substring(start, at);
            switch (word) {
                case "null": return null;
                case "true": return true;
                case "false": return false;
                default: return word.matches("-?[0-9]+") ? (Object) new BigInteger(word) : (Object) Double.valueOf(word);
            }
        }
    }

    static IllegalArgumentException misfit(Object json) {
        return new IllegalArgumentException("the argument " + json + " does not fit the method's parameter");
    }

    // ---- from JSON

    static Object make(Object json, Type type) {
        if (type instanceof ParameterizedType) {
            ParameterizedType whole = (ParameterizedType) type;
            Class<?> raw = (Class<?>) whole.getRawType();
            Type[] inner = whole.getActualTypeArguments();
            if (Map.class.isAssignableFrom(raw)) {
                Map<Object, Object> made = raw == TreeMap.class || raw == SortedMap.class ? new TreeMap<>() : new LinkedHashMap<>();
                if (!(json instanceof Map)) throw misfit(json);
                for (Map.Entry<?, ?> entry : ((Map<?, ?>) json).entrySet())
                    made.put(key((String) entry.getKey(), inner[0]), make(entry.getValue(), inner[1]));
                return raw == HashMap.class ? new HashMap<>(made) : made;
            }
            if (raw == Optional.class) return Optional.ofNullable(json == null ? null : make(json, inner[0]));
            if (json == null) return null;
            if (!(json instanceof List)) throw misfit(json);
            Collection<Object> made;
            if (Set.class.isAssignableFrom(raw)) made = raw == TreeSet.class ? new TreeSet<>() : new LinkedHashSet<>();
            else if (raw == LinkedList.class || raw == Deque.class || raw == Queue.class) made = new LinkedList<>();
            else made = new ArrayList<>();
            for (Object item : (List<?>) json) made.add(make(item, inner[0]));
            return raw == HashSet.class ? new HashSet<>(made) : made;
        }
        if (!(type instanceof Class)) return natural(json);
        Class<?> raw = (Class<?>) type;
        if (raw.isArray()) {
            if (!(json instanceof List)) throw misfit(json);
            List<?> items = (List<?>) json;
            Object made = Array.newInstance(raw.getComponentType(), items.size());
            for (int i = 0; i < items.size(); i++) Array.set(made, i, make(items.get(i), raw.getComponentType()));
            return made;
        }
        if (json == null) return null;
        if (raw == boolean.class || raw == Boolean.class) { if (json instanceof Boolean) return json; throw misfit(json); }
        if (raw == char.class || raw == Character.class) {
            if (json instanceof String && ((String) json).length() == 1) return ((String) json).charAt(0);
            throw misfit(json);
        }
        if (raw == String.class) { if (json instanceof String) return json; throw misfit(json); }
        if (json instanceof Number) {
            Number number = (Number) json;
            if (raw == double.class || raw == Double.class) return number.doubleValue();
            if (raw == float.class || raw == Float.class) return number.floatValue();
            if (number instanceof BigInteger) {
                BigInteger whole = (BigInteger) number;
                if (raw == int.class || raw == Integer.class) return whole.intValueExact();
                if (raw == long.class || raw == Long.class) return whole.longValueExact();
                if (raw == short.class || raw == Short.class) return whole.shortValueExact();
                if (raw == byte.class || raw == Byte.class) return whole.byteValueExact();
                if (raw == BigInteger.class) return whole;
            }
        }
        if (raw == Object.class || raw == Number.class || raw == List.class || raw == Map.class) return natural(json);
        throw misfit(json);
    }

    static Object key(String text, Type type) {
        return type == String.class ? text : make(type == Character.class ? text : new Reader(text).value(), type);
    }

    static Object natural(Object json) {
        if (json instanceof BigInteger) {
            BigInteger whole = (BigInteger) json;
            return whole.bitLength() < 32 ? (Object) whole.intValue() : whole.bitLength() < 64 ? (Object) whole.longValue() : whole;
        }
        if (json instanceof List) {
            List<Object> made = new ArrayList<>();
            for (Object item : (List<?>) json) made.add(natural(item));
            return made;
        }
        return json;
    }

    // ---- to JSON

    static void text(StringBuilder out, String value) {
        out.append('"');
        for (char c : value.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < 32 || c > 126) out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        out.append('"');
    }

    static void write(StringBuilder out, Object value, int depth) throws Exception {
        if (depth > 140) throw new IllegalStateException("nested too deep");
        if (value == null) out.append("null");
        else if (value instanceof Optional) write(out, ((Optional<?>) value).orElse(null), depth);
        else if (value instanceof Boolean) out.append(value);
        else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number)) out.append("{\"n\":\"nan\"}");
            else if (Double.isInfinite(number)) out.append(number > 0 ? "{\"n\":\"inf\"}" : "{\"n\":\"-inf\"}");
            else out.append(value);
        } else if (value instanceof Number) out.append(value);
        else if (value instanceof CharSequence || value instanceof Character) text(out, value.toString());
        else if (value instanceof Map) {
            out.append("{\"d\":[");
            String between = "";
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(between);
                write(out, entry.getKey(), depth + 1);
                out.append(',');
                write(out, entry.getValue(), depth + 1);
                between = ",";
            }
            out.append("]}");
        } else if (value instanceof Collection) {
            out.append(value instanceof Set ? "{\"s\":[" : "[");
            String between = "";
            for (Object item : (Collection<?>) value) {
                out.append(between);
                write(out, item, depth + 1);
                between = ",";
            }
            out.append(value instanceof Set ? "]}" : "]");
        } else if (value.getClass().isArray()) {
            out.append('[');
            for (int i = 0; i < Array.getLength(value); i++) {
                if (i > 0) out.append(',');
                write(out, Array.get(value, i), depth + 1);
            }
            out.append(']');
        } else if (value instanceof Enum) text(out, value.toString());
        else throw new IllegalStateException("a " + value.getClass().getName() + " is not plain data");
    }

    // ---- calling

    static String call(String name, List<?> given) {
        try {
            for (String owner : CLASSES) {
                Class<?> type = Class.forName(owner);
                for (Method method : type.getDeclaredMethods()) {
                    if (!method.getName().equals(name) || method.getParameterCount() != given.size()) continue;
                    method.setAccessible(true);
                    Object self = null;
                    if (!Modifier.isStatic(method.getModifiers())) {
                        Constructor<?> constructor = type.getDeclaredConstructor();
                        constructor.setAccessible(true);
                        self = constructor.newInstance();
                    }
                    Type[] types = method.getGenericParameterTypes();
                    Object[] values = new Object[types.length];
                    for (int i = 0; i < types.length; i++) values[i] = make(given.get(i), types[i]);
                    Object result = method.invoke(self, values);
                    // What a method that returns nothing did to its first argument.
                    if (method.getReturnType() == void.class && values.length > 0) result = values[0];
                    StringBuilder out = new StringBuilder("[\"v\",");
                    write(out, result, 0);
                    return out.append(']').toString();
                }
            }
            StringBuilder out = new StringBuilder("[\"m\",");
            text(out, name);
            return out.append(']').toString();
        } catch (Throwable error) {
            Throwable cause = error;
            while ((cause instanceof InvocationTargetException || cause instanceof ExceptionInInitializerError) && cause.getCause() != null)
                cause = cause.getCause();
            StringBuilder out = new StringBuilder("[\"e\",[");
            boolean memory = cause instanceof OutOfMemoryError;
            text(out, memory ? "MemoryError" : cause.getClass().getSimpleName());
            out.append("],null,");
            text(out, String.valueOf(cause.getMessage()));
            return out.append(",null]").toString();
        }
    }

    public static void main(String[] arguments) throws Exception {
        FileDescriptor channel = new FileDescriptor();
        // Descriptor 3 has no path that can be opened: it is a socket.
        Constructor<FileDescriptor> constructor = FileDescriptor.class.getDeclaredConstructor(int.class);
        constructor.setAccessible(true);
        channel = constructor.newInstance(3);
        BufferedReader lines = new BufferedReader(
            new InputStreamReader(new FileInputStream(channel), StandardCharsets.UTF_8));
        FileOutputStream replies = new FileOutputStream(channel);
        for (String line; (line = lines.readLine()) != null; ) {
            List<?> request = (List<?>) new Reader(line).value();
            String reply = call((String) request.get(0), (List<?>) request.get(1));
            System.out.flush();
            replies.write((reply + "\n").getBytes(StandardCharsets.UTF_8));
        }
        Runtime.getRuntime().halt(0);
    }
}

// Calls functions of the program: a request a line on descriptor 3, [name, arguments]; a reply a line.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
)

var stropFunctions = map[string]interface{}{
// FUNCTIONS
}

var stropError = reflect.TypeOf((*error)(nil)).Elem()

func stropText(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.Encode(text)
	return strings.TrimRight(out.String(), "\n")
}

func stropEncode(out *strings.Builder, value reflect.Value, depth int) {
	if depth > 140 {
		panic("nested too deep")
	}
	list := func(count int, item func(int)) {
		out.WriteByte('[')
		for i := 0; i < count; i++ {
			if i > 0 {
				out.WriteByte(',')
			}
			item(i)
		}
		out.WriteByte(']')
	}
	switch value.Kind() {
	case reflect.Invalid:
		out.WriteString("null")
	case reflect.Bool:
		out.WriteString(strconv.FormatBool(value.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		out.WriteString(strconv.FormatInt(value.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		out.WriteString(strconv.FormatUint(value.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		number := value.Float()
		switch {
		case math.IsNaN(number):
			out.WriteString(`{"n":"nan"}`)
		case math.IsInf(number, 0):
			out.WriteString(`{"n":"` + strings.Replace(strconv.FormatFloat(number, 'g', -1, 64), "+Inf", "inf", 1))
			out.WriteString(`"}`)
		default:
			out.WriteString(strconv.FormatFloat(number, 'g', -1, value.Type().Bits()))
		}
	case reflect.String:
		out.WriteString(stropText(value.String()))
	case reflect.Slice, reflect.Array:
		list(value.Len(), func(i int) { stropEncode(out, value.Index(i), depth+1) })
	case reflect.Map:
		keys := value.MapKeys()
		out.WriteString(`{"d":`)
		list(2*len(keys), func(i int) {
			if i%2 == 0 {
				stropEncode(out, keys[i/2], depth+1)
			} else {
				stropEncode(out, value.MapIndex(keys[i/2]), depth+1)
			}
		})
		out.WriteByte('}')
	case reflect.Ptr, reflect.Interface:
		stropEncode(out, value.Elem(), depth+1)
	case reflect.Struct:
		out.WriteString(`{"o":{`)
		for i := 0; i < value.NumField(); i++ {
			if i > 0 {
				out.WriteByte(',')
			}
			out.WriteString(stropText(value.Type().Field(i).Name) + ":")
			stropEncode(out, value.Field(i), depth+1)
		}
		out.WriteString(`}}`)
	default:
		panic("a " + value.Kind().String() + " is not plain data")
	}
}

// Whole numbers that were decoded without a type are integers.
func stropPlain(value interface{}) interface{} {
	switch v := value.(type) {
	case json.Number:
		if whole, err := strconv.Atoi(v.String()); err == nil {
			return whole
		}
		number, _ := v.Float64()
		return number
	case []interface{}:
		for i := range v {
			v[i] = stropPlain(v[i])
		}
	case map[string]interface{}:
		for key := range v {
			v[key] = stropPlain(v[key])
		}
	}
	return value
}

func stropArgument(kind reflect.Type, raw json.RawMessage) reflect.Value {
	if kind.Kind() == reflect.Int32 && len(raw) > 0 && raw[0] == '"' { // a rune
		var text string
		json.Unmarshal(raw, &text)
		for _, letter := range text {
			return reflect.ValueOf(letter).Convert(kind)
		}
	}
	made := reflect.New(kind)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Uint8 && raw[0] == '[' {
		var numbers []int
		json.Unmarshal(raw, &numbers)
		made.Elem().Set(reflect.MakeSlice(kind, len(numbers), len(numbers)))
		for i, number := range numbers {
			made.Elem().Index(i).SetUint(uint64(number))
		}
		return made.Elem()
	}
	if err := decoder.Decode(made.Interface()); err != nil {
		panic("an argument does not fit the function's parameter: " + err.Error())
	}
	stropFix(made.Elem())
	return made.Elem()
}

func stropFix(value reflect.Value) {
	switch value.Kind() {
	case reflect.Interface:
		if !value.IsNil() {
			value.Set(reflect.ValueOf(stropPlain(value.Interface())))
		}
	case reflect.Slice:
		for i := 0; i < value.Len(); i++ {
			stropFix(value.Index(i))
		}
	}
}

func stropCall(name string, arguments []json.RawMessage) (reply string) {
	defer func() {
		if problem := recover(); problem != nil {
			reply = `["e",["panic"],null,` + stropText(fmt.Sprint(problem)) + `,null]`
		}
	}()
	function := reflect.ValueOf(stropFunctions[name])
	kind := function.Type()
	if kind.NumIn() != len(arguments) {
		panic(fmt.Sprintf("the function takes %d arguments", kind.NumIn()))
	}
	values := make([]reflect.Value, len(arguments))
	for i, raw := range arguments {
		values[i] = stropArgument(kind.In(i), raw)
	}
	var results []reflect.Value
	if kind.IsVariadic() {
		results = function.CallSlice(values)
	} else {
		results = function.Call(values)
	}
	if last := len(results) - 1; last >= 0 && kind.Out(last) == stropError {
		if !results[last].IsNil() {
			panic(results[last].Interface())
		}
		results = results[:last]
	}
	var out strings.Builder
	switch len(results) {
	case 0: // what the function did to its first argument
		if len(values) > 0 && (values[0].Kind() == reflect.Slice || values[0].Kind() == reflect.Ptr || values[0].Kind() == reflect.Map) {
			stropEncode(&out, values[0], 0)
		} else {
			out.WriteString("null")
		}
	case 1:
		stropEncode(&out, results[0], 0)
	default:
		for i, result := range results {
			out.WriteString(map[bool]string{true: "[", false: ","}[i == 0])
			stropEncode(&out, result, 0)
		}
		out.WriteByte(']')
	}
	return `["v",` + out.String() + `]`
}

func main() {
	channel := os.NewFile(3, "channel")
	lines := bufio.NewReader(channel)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var request []json.RawMessage
		var name string
		var arguments []json.RawMessage
		json.Unmarshal(line, &request)
		json.Unmarshal(request[0], &name)
		json.Unmarshal(request[1], &arguments)
		channel.WriteString(stropCall(name, arguments) + "\n")
	}
}

# Calls functions of the program: a request a line on descriptor 3, a name and quoted words; a reply a line.

_strop_json() { # $1 as a JSON string
  local text=${1//\\/\\\\} i code char
  text=${text//\"/\\\"}
  if [[ $text == *[[:cntrl:]]* ]]; then
    for ((i = 1; i < 32; i++)); do
      printf -v code '\\u%04x' "$i"
      printf -v char "\\x$(printf %x "$i")"
      text=${text//"$char"/$code}
    done
  fi
  printf '"%s"' "$text"
}

_strop_loaded=0
source /box/program.sh </dev/null 3>&-
_strop_loaded=1

while IFS= read -r -u 3 _strop_line; do
  eval "_strop_words=($_strop_line)"
  if ! declare -F "${_strop_words[0]}" >/dev/null; then
    printf '["m",%s]\n' "$(_strop_json "${_strop_words[0]}")" >&3
    continue
  fi
  _strop_out=$("${_strop_words[@]}" 3>&- </dev/null; printf .%d "$?")
  _strop_code=${_strop_out##*.}
  _strop_out=${_strop_out%.*}
  if [[ $_strop_code != 0 && -z $_strop_out ]]; then
    printf '["e",["exit code %s"],null,"",null]\n' "$_strop_code" >&3
  else
    printf '["v",%s]\n' "$(_strop_json "$_strop_out")" >&3
  fi
done
exit 0

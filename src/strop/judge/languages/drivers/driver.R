# Calls functions of the program: a request a line on standard input, R source of a list of name and arguments; a reply
# a line on standard output. What the program prints goes to standard error.
local({
  input <- file("stdin", open = "r", blocking = TRUE)
  text <- function(value) {
    value <- gsub("\\", "\\\\", enc2utf8(value), fixed = TRUE)
    value <- gsub("\"", "\\\"", value, fixed = TRUE)
    if (grepl("[[:cntrl:]]", value)) {
      for (code in c(1:31)) value <- gsub(intToUtf8(code), sprintf("\\u%04x", code), value, fixed = TRUE)
    }
    paste0("\"", value, "\"")
  }
  number <- function(value) {
    if (is.nan(value)) return("{\"n\":\"nan\"}")
    if (is.na(value)) return("null")
    if (is.infinite(value)) return(if (value > 0) "{\"n\":\"inf\"}" else "{\"n\":\"-inf\"}")
    if (value == trunc(value) && abs(value) < 1e15) return(sprintf("%.0f", value))
    sprintf("%.17g", value)
  }
  one <- function(value) {
    if (is.character(value)) return(if (is.na(value)) "null" else text(value))
    if (is.logical(value)) return(if (is.na(value)) "null" else if (value) "true" else "false")
    if (is.numeric(value)) return(number(as.numeric(value)))
    stop(paste("a value of class", class(value)[1], "is not plain data"))
  }
  encode <- function(value, depth = 0) {
    if (depth > 140) stop("nested too deep")
    if (is.null(value)) return("null")
    if (is.factor(value)) value <- as.character(value)
    if (is.matrix(value)) {
      rows <- vapply(seq_len(nrow(value)), function(i) {
        paste0("[", paste(vapply(value[i, ], one, ""), collapse = ","), "]")
      }, "")
      return(paste0("[", paste(rows, collapse = ","), "]"))
    }
    if (is.environment(value)) value <- as.list(value)
    if (!is.list(value) && !is.atomic(value)) stop(paste("a", typeof(value), "is not plain data"))
    if (is.atomic(value) && length(value) == 1 && is.null(names(value))) return(one(value))
    parts <- vapply(seq_along(value), function(i) {
      if (is.list(value)) encode(value[[i]], depth + 1) else one(value[[i]])
    }, "")
    if (is.null(names(value))) return(paste0("[", paste(parts, collapse = ","), "]"))
    keys <- vapply(names(value), text, "")
    paste0("{\"o\":{", paste(paste0(keys, ":", parts), collapse = ","), "}}")
  }
  failure <- function(kind, error) {
    message <- text(substr(conditionMessage(error), 1, 400))
    memory <- grepl("cannot allocate|memory exhausted", message)
    name <- if (memory) "MemoryError" else "error"
    if (kind == "e") return(paste0("[\"e\",[\"", name, "\"],null,", message, ",null]"))
    paste0("[\"l\",\"", kind, "\",[\"", name, "\"],null,", message, ",null]")
  }
  problem <- NULL
  space <- globalenv()
  sink(stderr())
  source <- tryCatch(parse("/box/program.R", keep.source = FALSE), error = function(error) {
    problem <<- failure("syntax", error)
    NULL
  })
  if (is.null(problem)) {
    tryCatch(for (part in source) eval(part, space), error = function(error) problem <<- failure("runtime", error))
  }
  repeat {
    line <- readLines(input, n = 1)
    if (length(line) == 0) break
    request <- eval(parse(text = line, keep.source = FALSE), baseenv())
    reply <- problem
    if (is.null(reply)) {
      called <- get0(request[[1]], envir = space, mode = "function", inherits = FALSE)
      reply <- if (is.null(called)) {
        paste0("[\"m\",", text(request[[1]]), "]")
      } else {
        tryCatch(
          paste0("[\"v\",", encode(do.call(called, request[[2]], quote = TRUE)), "]"),
          error = function(error) failure("e", error)
        )
      }
    }
    sink()
    cat(reply, "\n", sep = "")
    flush(stdout())
    sink(stderr())
  }
})
quit(save = "no", status = 0)

package router

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// This file reads as much of eskip, Skipper's route language, as it takes to tell predicates apart from each other: strings
// in double quotes or backticks, regular expressions between slashes, comments, numbers and names. It follows
// https://github.com/zalando/skipper/blob/v0.27.0/eskip/lexer.go and parser.y.

// errEskip says that a text is not what Skipper reads; Skipper would log it and go on without it.
var errEskip = errors.New("not a valid eskip expression")

// predicate is one predicate (or filter) of an expression.
type predicate struct {
	name string
	args []string // as written, quotes included
	text string   // as written, without surrounding space and comments
}

// parsePredicates splits an expression such as `Method("GET") && Path("/a&&b")` into its predicates. An empty text, or one of
// comments only, has none.
func parsePredicates(text string) ([]predicate, error) { return parseSequence(text, tokenAnd) }

// parseFilters splits a chain such as `status(200) -> inlineContent("a -> b")` into its filters.
func parseFilters(text string) ([]predicate, error) { return parseSequence(text, tokenArrow) }

// parseSequence reads calls with one kind of separator between them, up to the end of the text.
func parseSequence(text string, separator tokenKind) ([]predicate, error) {
	p := parser{lexer: lexer{text: strings.TrimSpace(text)}} // as Skipper does, Unicode space included
	if p.next(); p.kind == tokenEnd && p.err == nil {
		return nil, nil
	}
	calls := p.sequence(separator)
	if p.err == nil && p.kind != tokenEnd {
		p.fail("unexpected %q", p.token())
	}
	if p.err != nil {
		return nil, p.err
	}
	return calls, nil
}

// joinPredicates is the inverse of parsePredicates for predicates that are written already.
func joinPredicates(predicates ...string) string { return strings.Join(predicates, " && ") }

// joinFilters is the inverse of parseFilters for filters that are written already.
func joinFilters(filters ...string) string { return strings.Join(filters, " -> ") }

// texts returns the predicates as they were written.
func texts(predicates []predicate) []string {
	var written []string
	for _, p := range predicates {
		written = append(written, p.text)
	}
	return written
}

// routeWeight is what predicates add to the weight by which Skipper orders the routes of one host and path: one each, but
// for Weight(n), which adds n, and those that the path tree or nothing at all is made of.
// https://github.com/zalando/skipper/blob/v0.27.0/routing/matcher.go (leafWeight)
func routeWeight(predicates []predicate) int {
	weight := 0
	for _, p := range predicates {
		switch p.name {
		case "Weight":
			if len(p.args) == 1 {
				n, err := strconv.ParseFloat(p.args[0], 64)
				if err == nil && n < 1<<30 {
					weight += int(n)
				}
			}
		case "Path", "PathSubtree", "TrafficSegment", "*", "Any":
		default:
			weight++
		}
	}
	return weight
}

// quote writes s as an eskip string. Skipper knows fewer escapes than Go, so strconv.Quote would not do.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// call writes a predicate or a filter with strings as its arguments.
func call(name string, args ...string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = quote(arg)
	}
	return name + "(" + strings.Join(quoted, ", ") + ")"
}

// weightPredicate writes the predicate that adds n to the weight of a route.
func weightPredicate(n int) string { return "Weight(" + strconv.Itoa(n) + ")" }

// raiseRoutes adds n to the weight of the chosen routes of an eskip document, the format of zalando.org/skipper-routes.
func raiseRoutes(document string, n int, chosen func(route) bool) (string, error) {
	routes, err := parseRoutes(document)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	rest := 0
	for _, r := range routes {
		if !chosen(r) {
			continue
		}
		out.WriteString(document[rest:r.start])
		out.WriteString(weightPredicate(n) + " && ")
		rest = r.start
	}
	out.WriteString(document[rest:])
	return out.String(), nil
}

// route is where the predicates of one route begin in a document, and what they are.
type route struct {
	start      int
	predicates []predicate
}

// parseRoutes finds the routes of an eskip document: `id: predicates -> filters -> backend; ...`, or one route without an id.
func parseRoutes(document string) ([]route, error) {
	p := parser{lexer: lexer{text: document}}
	var routes []route
	for p.next(); p.err == nil && p.kind != tokenEnd; {
		if p.kind == tokenSemicolon {
			p.next()
			continue
		}
		if id := p; p.kind == tokenName { // an id is a name before a colon
			id.next()
			if id.kind == tokenColon {
				id.next()
				p = id
			}
		}
		r := route{start: p.start}
		r.predicates = p.sequence(tokenAnd)
		if p.err == nil && p.kind != tokenArrow {
			p.fail("expected -> after the predicates of a route, found %q", p.token())
		}
		for p.err == nil && p.kind != tokenEnd && p.kind != tokenSemicolon { // filters and backend
			p.next()
		}
		routes = append(routes, r)
	}
	if p.err != nil {
		return nil, p.err
	}
	return routes, nil
}

// parser reads calls; its first error stays.
type parser struct {
	lexer
}

// sequence reads one call, and as many more as have the separator before them.
func (p *parser) sequence(separator tokenKind) []predicate {
	calls := []predicate{p.call()}
	for p.err == nil && p.kind == separator {
		p.next()
		calls = append(calls, p.call())
	}
	return calls
}

// call reads `name(argument, ...)` or `*`.
func (p *parser) call() predicate {
	start, comments := p.start, p.comments
	c := predicate{name: p.token()}
	switch p.kind {
	case tokenAny:
		c.text = c.name
		p.next()
		return c
	case tokenName:
	default:
		p.fail("expected a name, found %q", p.token())
		return c
	}
	p.next()
	p.expect(tokenOpen, "(")
	for p.err == nil && p.kind != tokenClose {
		if len(c.args) > 0 {
			p.expect(tokenComma, ",")
		}
		if p.kind != tokenLiteral {
			p.fail("expected a string, number or regular expression in %s(...), found %q", c.name, p.token())
			return c
		}
		c.args = append(c.args, p.token())
		p.next()
	}
	c.text = p.text[start:p.end]
	if p.comments != comments {
		c.text = c.name + "(" + strings.Join(c.args, ", ") + ")"
	}
	p.expect(tokenClose, ")")
	return c
}

func (p *parser) expect(kind tokenKind, what string) {
	if p.err != nil {
		return
	}
	if p.kind != kind {
		p.fail("expected %s, found %q", what, p.token())
		return
	}
	p.next()
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenLiteral // a string, regular expression or number
	tokenOpen
	tokenClose
	tokenComma
	tokenColon
	tokenSemicolon
	tokenAnd
	tokenArrow
	tokenAny
	tokenBackend // < or >, as in <shunt>
)

// lexer reads tokens: text[start:end] is the current one.
type lexer struct {
	text       string
	start, end int
	kind       tokenKind
	comments   int // seen so far
	err        error
}

func (l *lexer) token() string { return l.text[l.start:l.end] }

func (l *lexer) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("%w: at position %d: %s", errEskip, l.start, fmt.Sprintf(format, args...))
	}
}

var fixedTokens = []struct {
	text string
	kind tokenKind
}{
	{"(", tokenOpen},
	{")", tokenClose},
	{",", tokenComma},
	{":", tokenColon},
	{";", tokenSemicolon},
	{"&&", tokenAnd},
	{"->", tokenArrow},
	{"*", tokenAny},
	{"<", tokenBackend},
	{">", tokenBackend},
}

// next moves to the next token, past space and comments. After an error it stays where it is.
func (l *lexer) next() {
	if l.err != nil {
		return
	}
	l.skipSpace()
	l.start = l.end
	rest := l.text[l.start:]
	if rest == "" {
		l.kind = tokenEnd
		return
	}
	for _, t := range fixedTokens {
		if strings.HasPrefix(rest, t.text) {
			l.kind, l.end = t.kind, l.start+len(t.text)
			return
		}
	}
	l.kind = tokenLiteral
	switch c := rest[0]; {
	case c == '"' || c == '`':
		l.quoted(c)
	case c == '/':
		l.regexp()
	case isDigit(c) || c == '.':
		l.number()
	case isNameChar(c):
		l.kind = tokenName
		for l.end < len(l.text) && (isNameChar(l.text[l.end]) || isDigit(l.text[l.end])) {
			l.end++
		}
	default:
		l.end++
		l.fail("unexpected character %q", c)
	}
}

func (l *lexer) skipSpace() {
	for l.end < len(l.text) {
		switch rest := l.text[l.end:]; {
		case strings.IndexByte(" \n\t\v\f\r\x85\xa0", rest[0]) >= 0:
			l.end++
		case strings.HasPrefix(rest, "//"):
			line := strings.IndexByte(rest, '\n')
			if line < 0 {
				line = len(rest)
			}
			l.end += line
			l.comments++
		default:
			return
		}
	}
}

// quoted reads up to the closing quote. A backslash takes the special meaning from what follows it.
func (l *lexer) quoted(delimiter byte) {
	for i := l.start + 1; i < len(l.text); i++ {
		switch l.text[i] {
		case '\\':
			i++
		case delimiter:
			l.end = i + 1
			return
		}
	}
	l.end = len(l.text)
	l.fail("the string has no closing %c", delimiter)
}

// regexp reads up to the closing slash; between brackets a slash stands for itself.
func (l *lexer) regexp() {
	bracket := false
	for i := l.start + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\':
			i++
		case c == '[':
			bracket = true
		case c == ']':
			bracket = false
		case c == '/' && !bracket:
			l.end = i + 1
			return
		}
	}
	l.end = len(l.text)
	l.fail("the regular expression has no closing /")
}

func (l *lexer) number() {
	for point := false; l.end < len(l.text); l.end++ {
		c := l.text[l.end]
		if c == '.' && !point {
			point = true
		} else if !isDigit(c) {
			break
		}
	}
	if l.text[l.end-1] == '.' {
		l.fail("the number %q ends in a point", l.token())
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

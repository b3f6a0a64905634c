package router

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	istiov1alpha1 "github.com/fluxcd/flagger/pkg/apis/istio/common/v1alpha1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
)

// matchPredicates writes the conditions of one entry of analysis.match as Skipper predicates. Istio's regular expressions
// match the whole value, Skipper's any part of it, so they are anchored.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest
func matchPredicates(field string, m istiov1beta1.HTTPMatchRequest) ([]string, error) {
	if err := refuseUnsupported(field, m); err != nil {
		return nil, err
	}
	var out []string
	if m.Uri != nil {
		pattern, err := stringPattern(field+".uri", *m.Uri)
		if err != nil {
			return nil, err
		}
		if m.IgnoreUriCase && m.Uri.Regex == "" {
			pattern = "(?i)" + pattern
		}
		out = append(out, call("PathRegexp", pattern))
	}
	if m.Method != nil {
		if m.Method.Exact == "" {
			return nil, fmt.Errorf("%s.method: only exact can be expressed in Skipper; write one match for each method", field)
		}
		out = append(out, call("Methods", m.Method.Exact)) // Method would replace one of the user's own
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		predicates, err := headerPredicates(field+".headers["+name+"]", name, m.Headers[name])
		if err != nil {
			return nil, err
		}
		out = append(out, predicates...)
	}
	for _, name := range slices.Sorted(maps.Keys(m.QueryParams)) {
		value := m.QueryParams[name]
		if value == (istiov1alpha1.StringMatch{}) {
			out = append(out, call("QueryParam", name))
			continue
		}
		pattern, err := stringPattern(field+".queryParams["+name+"]", value)
		if err != nil {
			return nil, err
		}
		out = append(out, call("QueryParam", name, pattern))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no condition, so every user would be sent to the canary; give it headers, queryParams, uri or method", field)
	}
	return out, nil
}

// refuseUnsupported names the fields that no Skipper predicate expresses, or that mean nothing at an ingress.
func refuseUnsupported(field string, m istiov1beta1.HTTPMatchRequest) error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"scheme", m.Scheme != nil},
		{"authority", m.Authority != nil},
		{"port", m.Port != 0},
		{"sourceLabels", len(m.SourceLabels) > 0},
		{"gateways", len(m.Gateways) > 0},
		{"withoutHeaders", len(m.WithoutHeaders) > 0},
		{"sourceNamespace", m.SourceNamespace != ""},
	} {
		if f.set {
			return fmt.Errorf("%s.%s cannot be expressed in Skipper; use headers, queryParams, uri or method", field, f.name)
		}
	}
	return nil
}

// headerPredicates matches one header. A Cookie header holds all cookies of a request in any order, so a condition that names
// a cookie is asked of that cookie.
func headerPredicates(field, name string, value istiov1alpha1.StringMatch) ([]string, error) {
	name = http.CanonicalHeaderKey(name)
	switch strings.ToLower(name) {
	case "":
		return nil, fmt.Errorf("%s: the name of the header is empty", field)
	case "host", "uri", "scheme", "method", "authority", ":authority", ":path", ":method", ":scheme":
		return nil, fmt.Errorf("%s is no header that Skipper can match; the rules of the Ingress choose the host, match.uri the path and match.method the method", field)
	case "cookie":
		if cookies := cookiePredicates(value); cookies != nil {
			return cookies, nil
		}
	}
	if value == (istiov1alpha1.StringMatch{}) {
		return []string{call("HeaderRegexp", name, ".*")}, nil // present, as in Istio
	}
	pattern, err := stringPattern(field, value)
	if err != nil {
		return nil, err
	}
	return []string{call("HeaderRegexp", name, pattern)}, nil // Header would replace one of the user's own for that name
}

// cookieRegexp is the form in which Istio's and Flagger's documentation match one cookie, `^(.*?;)?(canary=always)(;.*)?$`.
// It fails in real requests when another cookie comes first, because browsers put a space after the semicolon.
var cookieRegexp = regexp.MustCompile(`^\^?(?:\(\.\*\??;(?:\\s\*|\\s\?| \?| \*| )?\)\?)?\(?([!#$%&'*+.^_|~0-9A-Za-z-]+)=(.*?)\)?(?:\(;\.\*\)\?|\(;\|\$\))\$?$`)

// cookiePredicates returns the predicates for a condition on the Cookie header that speaks of named cookies, or nil when it
// has to be asked of the whole header.
func cookiePredicates(value istiov1alpha1.StringMatch) []string {
	if _, err := stringPattern("", value); err != nil {
		return nil // no condition, or several: not for cookies to say
	}
	if value.Exact != "" { // "a=1; b=2"
		var out []string
		for pair := range strings.SplitSeq(value.Exact, ";") {
			name, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || name == "" {
				return nil
			}
			out = append(out, call("Cookie", name, "^"+regexp.QuoteMeta(v)+"$"))
		}
		return out
	}
	if name, v, ok := strings.Cut(value.Prefix, "="); ok && name != "" && !strings.Contains(v, ";") {
		return []string{call("Cookie", name, "^"+regexp.QuoteMeta(v))}
	}
	if m := cookieRegexp.FindStringSubmatch(value.Regex); m != nil && !strings.Contains(m[2], ";") {
		if pattern := "^(?:" + m[2] + ")$"; valid(pattern) {
			return []string{call("Cookie", m[1], pattern)}
		}
	}
	return nil
}

// stringPattern writes a StringMatch as a regular expression for a part of the value.
func stringPattern(field string, m istiov1alpha1.StringMatch) (string, error) {
	var patterns []string
	if m.Exact != "" {
		patterns = append(patterns, "^"+regexp.QuoteMeta(m.Exact)+"$")
	}
	if m.Prefix != "" {
		patterns = append(patterns, "^"+regexp.QuoteMeta(m.Prefix))
	}
	if m.Suffix != "" {
		patterns = append(patterns, regexp.QuoteMeta(m.Suffix)+"$")
	}
	if m.Regex != "" {
		pattern := "^(?:" + m.Regex + ")$"
		if !valid(m.Regex) || !valid(pattern) {
			return "", fmt.Errorf("%s.regex %q is no regular expression that Skipper can read: use the syntax of https://pkg.go.dev/regexp/syntax", field, m.Regex)
		}
		patterns = append(patterns, pattern)
	}
	if len(patterns) != 1 {
		return "", fmt.Errorf("%s must have exactly one of exact, prefix, suffix and regex, it has %d", field, len(patterns))
	}
	return patterns[0], nil
}

func valid(pattern string) bool {
	_, err := regexp.Compile(pattern)
	return err == nil
}

package route53emulator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// name is a domain name as Route 53 returns it: in lower case, with a trailing dot, each byte other than a-z, 0-9, "-"
// and "_" as an escape code of three octal digits. So no "." is part of a label, and equal names are equal strings.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
type name string

// wildcard is the label "*".
const wildcard = `\052`

var errEmptyLabel = errors.New("a label is empty")

// parseName reads a name as a client of the API writes it: the trailing dot is optional, letters may be in either
// case, and bytes may be given as octal escape codes.
func parseName(text string) (name, error) {
	labels, err := splitLabels(text, 8)
	if err != nil {
		return "", fmt.Errorf("domain name %q: %w", text, err)
	}
	return joinLabels(labels), nil
}

// nameFromDNS reads a name as the dns package presents it, with decimal escape codes. The root is not ok.
func nameFromDNS(text string) (n name, ok bool) {
	labels, err := splitLabels(text, 10)
	return joinLabels(labels), err == nil
}

// splitLabels returns the decoded labels of a name with escape codes of three digits in base 8 or 10.
func splitLabels(text string, base int) ([]string, error) {
	var labels []string
	var label []byte
	length := 1 // of the name on the wire, with the root's byte
	end := func() error {
		switch {
		case len(label) == 0:
			return errEmptyLabel
		case len(label) > 63:
			return fmt.Errorf("a label has %d bytes, at most 63 are allowed", len(label))
		}
		length += len(label) + 1
		labels = append(labels, strings.ToLower(string(label)))
		label = label[:0]
		return nil
	}
	text = strings.TrimSuffix(text, ".")
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '.':
			if err := end(); err != nil {
				return nil, err
			}
			continue
		case c == '\\':
			code, size, err := escaped(text[i+1:], base)
			if err != nil {
				return nil, err
			}
			c, i = code, i+size
		case c <= ' ' || c > '~':
			return nil, fmt.Errorf("byte %#02x must be written as an escape code", c)
		}
		label = append(label, c)
	}
	if err := end(); err != nil {
		return nil, err
	}
	if length > 255 {
		return nil, fmt.Errorf("the name has %d bytes, at most 255 are allowed", length)
	}
	return labels, nil
}

// escaped decodes what follows a backslash; size is the number of bytes that it takes. In base 10, that of DNS, a
// backslash may also stand before the character itself.
func escaped(text string, base int) (c byte, size int, err error) {
	code := 0
	for i := range min(3, len(text)) {
		digit := int(text[i]) - '0'
		if digit < 0 || digit >= base {
			break
		}
		code, size = code*base+digit, i+1
	}
	switch {
	case size == 3 && code <= 255:
		return byte(code), size, nil
	case base == 10 && len(text) > 0 && size == 0:
		return text[0], 1, nil
	}
	return 0, 0, fmt.Errorf("a backslash must be followed by three digits in base %d, at most 255", base)
}

func joinLabels(labels []string) name {
	var b strings.Builder
	for _, label := range labels {
		for _, c := range []byte(label) {
			if plain(c) {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		}
		b.WriteByte('.')
	}
	return name(b.String())
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// labels returns the decoded labels, the leftmost first.
func (n name) labels() []string {
	labels, err := splitLabels(string(n), 8)
	if err != nil {
		return nil // cannot be: a name is made by joinLabels
	}
	return labels
}

// sortKey is the name with its labels in reverse and a trailing dot, by whose ASCII order record sets are listed.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
func (n name) sortKey() string {
	labels := n.labels()
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

// within reports whether n is zone or a name below it.
func (n name) within(zone name) bool {
	return n == zone || strings.HasSuffix(string(n), "."+string(zone))
}

// parent returns n without its leftmost label; empty for a top-level name.
func (n name) parent() name {
	_, rest, _ := strings.Cut(string(n), ".")
	return name(rest)
}

// dns returns n as the dns package presents it.
func (n name) dns() string {
	var b strings.Builder
	for _, label := range n.labels() {
		for _, c := range []byte(label) {
			if plain(c) || c == '*' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, `\%03d`, c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

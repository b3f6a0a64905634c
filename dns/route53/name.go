package route53

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Names are kept as dns.Record has them: in lower case, without a trailing dot, with a literal "*".

// apiName returns a name as Route 53 lists it: with a trailing dot, and every byte other than a-z, 0-9, "-" and "_" as
// an escape code of three octal digits. https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
func apiName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	b.WriteByte('.')
	return b.String()
}

// plainName is the reverse of apiName. An escaped dot stays escaped, so that no other name reads the same.
func plainName(api string) string {
	name := strings.ToLower(strings.TrimSuffix(api, "."))
	if !strings.Contains(name, `\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+3 < len(name) {
			if code, err := strconv.ParseUint(name[i+1:i+4], 8, 8); err == nil && code != '.' {
				b.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// sortKey returns what Route 53 orders names by: the labels reversed, with a trailing dot.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
func sortKey(name string) string {
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

// within reports whether name is parent or a name below it.
func within(name, parent string) bool {
	return name == parent || strings.HasSuffix(name, "."+parent)
}

// hostOf returns the host that a cluster's name belongs to: for `<cluster label>._canary.<host>`, and whatever else the
// cluster has below a host, the host, and every other name itself.
func hostOf(name, clusterLabel string) string {
	rest, ok := strings.CutPrefix(name, clusterLabel+"._")
	if !ok {
		return name
	}
	_, host, _ := strings.Cut(rest, ".")
	if below, ok := strings.CutPrefix(host, wildcardLabel+"."); ok {
		return "*." + below
	}
	return host
}

package route53

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

const (
	heritage      = "heritage=penstock"
	ownerLabel    = "_penstock"
	wildcardLabel = "_wildcard"
	// ownershipTTL is the TTL in seconds of ownership records, which nobody resolves.
	ownershipTTL = 300
	// maxName is the length of a domain name as text: https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
	maxName = 253
	// maxString is the length of one string of a TXT record.
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat
	maxString = 255
)

// owner is what record sets belong to.
type owner struct {
	cluster string
	ingress ktypes.NamespacedName
	origin  string // Options.Origin
}

func (o owner) String() string {
	return fmt.Sprintf("ingress %s of cluster %q", o.ingress, o.cluster)
}

// claim says which record sets of one name belong to an owner. It is written as the text of a TXT record, in the same change
// batch as what it claims:
//
//	heritage=penstock,cluster=east,ingress=shop/web,records=A/east;AAAA/east
//
// Behind the ingress stands ",origin=<origin>" where Options.Origin is set.
//
// Each entry of records is a type and a set identifier; between them stands ":<seconds>" when the dns.Record had a TTL that
// cannot be seen in the record set. Cluster and identifiers are escaped as in a URL's query.
type claim struct {
	owner

	// written is the origin in the text, which is another than the owner's where a Backend takes both for its own.
	written string
	// records are the claimed record sets, without their name, with the TTL as in wanted.
	records map[key]time.Duration
}

func newClaim(o owner, all []wanted) claim {
	c := claim{owner: o, written: o.origin, records: make(map[key]time.Duration, len(all))}
	for _, w := range all {
		c.records[key{kind: w.kind, id: w.id}] = w.ttl
	}
	return c
}

// owns reports whether the claim is o's and names a record set.
func (c *claim) owns(o owner, k key) bool {
	if c == nil || c.owner != o {
		return false
	}
	_, ok := c.records[key{kind: k.kind, id: k.id}]
	return ok
}

func (c claim) text() string {
	var entries []string
	for k, ttl := range c.records {
		entry := string(k.kind)
		if ttl > 0 {
			entry += ":" + strconv.FormatInt(int64(ttl/time.Second), 10)
		}
		entries = append(entries, entry+"/"+url.QueryEscape(k.id))
	}
	slices.Sort(entries)
	text := heritage + ",cluster=" + url.QueryEscape(c.cluster) + ",ingress=" + c.ingress.String()
	if c.written != "" {
		text += ",origin=" + url.QueryEscape(c.written)
	}
	return text + ",records=" + strings.Join(entries, ";")
}

var errNotOurs = errors.New("not an ownership record of Penstock")

// parseClaim reads the text of an ownership record. Fields that it does not know are ignored.
func parseClaim(text string) (claim, error) {
	rest, ok := strings.CutPrefix(text, heritage+",")
	if !ok {
		return claim{}, errNotOurs
	}
	c := claim{records: map[key]time.Duration{}}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "cluster":
			c.cluster, err = url.QueryUnescape(value)
		case "ingress":
			c.ingress.Namespace, c.ingress.Name, _ = strings.Cut(value, "/")
		case "origin":
			c.written, err = url.QueryUnescape(value)
			c.origin = c.written
		case "records":
			err = c.parseRecords(value)
		}
		if err != nil {
			return claim{}, fmt.Errorf("ownership record, field %s: %w", name, err)
		}
	}
	if c.cluster == "" || c.ingress.Name == "" {
		return claim{}, errNotOurs
	}
	return c, nil
}

func (c *claim) parseRecords(value string) error {
	for entry := range strings.SplitSeq(value, ";") {
		if entry == "" {
			continue
		}
		kind, escaped, ok := strings.Cut(entry, "/")
		if !ok {
			return fmt.Errorf("%q is no type and set identifier", entry)
		}
		id, err := url.QueryUnescape(escaped)
		if err != nil {
			return fmt.Errorf("set identifier %q: %w", escaped, err)
		}
		kind, seconds, hasTTL := strings.Cut(kind, ":")
		var ttl uint64
		if hasTTL {
			if ttl, err = strconv.ParseUint(seconds, 10, 31); err != nil {
				return fmt.Errorf("TTL %q: %w", seconds, err)
			}
		}
		c.records[key{kind: types.RRType(kind), id: id}] = time.Duration(ttl) * time.Second
	}
	return nil
}

// ownershipRoot is the name below which all ownership records of a cluster in a zone stand, so that one page, or few, list them.
func ownershipRoot(zone *hostedZone, cluster string) string {
	return dns.ClusterLabel(cluster) + "." + ownerLabel + "." + zone.name
}

// ownershipName returns the name of the ownership record for a name: `www.<root>` for www in the zone, the root itself for
// the zone's apex, and _wildcard for "*".
func ownershipName(zone *hostedZone, cluster, name string) (string, error) {
	at := ownershipRoot(zone, cluster)
	if below := strings.TrimSuffix(strings.TrimSuffix(name, zone.name), "."); below != "" {
		if rest, ok := strings.CutPrefix(below+".", "*."); ok {
			below = strings.TrimSuffix(wildcardLabel+"."+rest, ".")
		}
		at = below + "." + at
	}
	if len(at) > maxName {
		return "", fmt.Errorf("name %s: its ownership record %s would be longer than %d characters: shorten the host or the cluster's name", name, at, maxName)
	}
	return at, nil
}

// ownedName is the reverse of ownershipName.
func ownedName(zone *hostedZone, cluster, at string) string {
	below := strings.TrimSuffix(strings.TrimSuffix(at, ownershipRoot(zone, cluster)), ".")
	if below == "" {
		return zone.name
	}
	if rest, ok := strings.CutPrefix(below+".", wildcardLabel+"."); ok {
		below = strings.TrimSuffix("*."+rest, ".")
	}
	return below + "." + zone.name
}

// ownershipSet is the record set that writes a claim.
func ownershipSet(at string, c claim) *types.ResourceRecordSet {
	return &types.ResourceRecordSet{
		Name: aws.String(apiName(at)), Type: types.RRTypeTxt, TTL: aws.Int64(ownershipTTL),
		ResourceRecords: []types.ResourceRecord{{Value: aws.String(quote(c.text()))}},
	}
}

// readClaim reads the record sets of an ownership name; nil without error if there are none. A claim of one of the origins has the Backend's own.
func readClaim(sets []*types.ResourceRecordSet, from origins) (*claim, *types.ResourceRecordSet, error) {
	for _, set := range sets {
		if set.Type != types.RRTypeTxt {
			continue
		}
		if len(set.ResourceRecords) != 1 || aws.ToString(set.SetIdentifier) != "" {
			return nil, set, errNotOurs
		}
		text, err := unquote(aws.ToString(set.ResourceRecords[0].Value))
		if err != nil {
			return nil, set, err
		}
		c, err := parseClaim(text)
		if err != nil {
			return nil, set, err
		}
		if from.accept(c.origin) {
			c.origin = from.own
		}
		return &c, set, nil
	}
	return nil, nil, nil
}

// quote writes a text as the value of a TXT record: strings of at most 255 bytes in quotation marks, with octal escape codes.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, c := range []byte(text) {
		if i > 0 && i%maxString == 0 {
			b.WriteString(`" "`)
		}
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquote reads the value of a TXT record as one text, its strings joined.
func unquote(value string) (string, error) {
	var b strings.Builder
	inside := false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '"':
			inside = !inside
		case !inside && (c == ' ' || c == '\t'):
		case !inside:
			return "", fmt.Errorf("value %q: a string does not stand in quotation marks", value)
		case c == '\\' && i+3 < len(value) && value[i+1] != '"' && value[i+1] != '\\':
			code, err := strconv.ParseUint(value[i+1:i+4], 8, 8)
			if err != nil {
				return "", fmt.Errorf("value %q: escape code: %w", value, err)
			}
			b.WriteByte(byte(code))
			i += 3
		case c == '\\' && i+1 < len(value) && (value[i+1] == '"' || value[i+1] == '\\'):
			i++
			b.WriteByte(value[i])
		case c == '\\':
			return "", fmt.Errorf("value %q ends within an escape code", value)
		default:
			b.WriteByte(c)
		}
	}
	if inside {
		return "", fmt.Errorf("value %q: a quotation mark is not closed", value)
	}
	return b.String(), nil
}

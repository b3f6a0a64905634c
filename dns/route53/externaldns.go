package route53

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// externalDNS knows how external-dns writes down whom a record belongs to: TXT records with the set identifier of the record,
// at names that registry/mapper makes of its name.
// https://github.com/kubernetes-sigs/external-dns/blob/v0.21.0/registry/mapper/mapper.go
// https://github.com/kubernetes-sigs/external-dns/blob/v0.21.0/docs/registry/txt.md
type externalDNS struct {
	adopt                    string // owner id whose records may be taken over; empty for none
	prefix, suffix, wildcard string
}

const recordTypeTemplate = "%{record_type}"

// txtName returns the name of the TXT record for a name and a type such as "cname"; an empty type gives the name that versions
// before 0.12 used.
func (e externalDNS) txtName(name, kind string) string {
	label, rest, _ := strings.Cut(name, ".")
	if label == "*" && e.wildcard != "" {
		label = strings.ToLower(e.wildcard)
	}
	prefix := strings.ReplaceAll(strings.ToLower(e.prefix), recordTypeTemplate, kind)
	suffix := strings.ReplaceAll(strings.ToLower(e.suffix), recordTypeTemplate, kind)
	if kind != "" && !strings.Contains(e.prefix+e.suffix, recordTypeTemplate) {
		label = kind + "-" + label
	}
	return prefix + label + suffix + "." + rest
}

// txtNames returns all names in a zone where external-dns may say whom the records of a name belong to.
func (e externalDNS) txtNames(zone *hostedZone, name string) []string {
	var names []string
	for _, kind := range []string{"a", "aaaa", "cname", ""} {
		if at := e.txtName(name, kind); within(at, zone.name) && !slices.Contains(names, at) {
			names = append(names, at)
		}
	}
	return names
}

// ownerOf returns the owner id that external-dns has written down for a record set, and the TXT records that say so.
func (e externalDNS) ownerOf(set *types.ResourceRecordSet, in snapshot) (id string, txts []*types.ResourceRecordSet) {
	k := keyOf(set)
	kinds := []string{strings.ToLower(string(k.kind)), ""}
	switch {
	case k.kind == types.RRTypeA && set.AliasTarget != nil:
		kinds[0] = "cname" // an alias of type A counts as a CNAME
	case k.kind == types.RRTypeAaaa:
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		for _, txt := range in[e.txtName(k.name, kind)] {
			if txt.Type != types.RRTypeTxt || aws.ToString(txt.SetIdentifier) != k.id || len(txt.ResourceRecords) == 0 {
				continue
			}
			owner, ok := parseExternalDNS(aws.ToString(txt.ResourceRecords[0].Value))
			if ok && (id == "" || id == owner) {
				id = owner
				txts = append(txts, txt)
			}
		}
	}
	return id, txts
}

// parseExternalDNS reads the owner id from the value of a TXT record.
func parseExternalDNS(value string) (owner string, ok bool) {
	text, err := unquote(value)
	if err != nil {
		return "", false
	}
	for field := range strings.SplitSeq(text, ",") {
		switch name, v, _ := strings.Cut(field, "="); {
		case name == "heritage" && v != "external-dns":
			return "", false
		case name == "heritage":
			ok = true
		case name == "external-dns/owner":
			owner = v
		}
	}
	return owner, ok && owner != ""
}

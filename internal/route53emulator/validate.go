package route53emulator

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Limits of a change batch and of record sets.
const (
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests-changeresourcerecordsets
	maxBatchRecords    = 1000
	maxBatchCharacters = 32000
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-entities
	maxValues   = 400
	maxWeighted = 100
	// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
	maxWeight        = 255
	maxSetIdentifier = 128
	maxTTL           = math.MaxInt32
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat
	maxTXT    = 4000
	maxString = 255
)

// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html
var recordTypes = []string{
	"A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA", "TXT",
}

// Types without routing policies other than simple.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html#Route53-Type-ResourceRecordSet-Type
var simpleOnly = []string{"DS", "NS", "SOA"}

// The actions of a change: https://docs.aws.amazon.com/Route53/latest/APIReference/API_Change.html
const (
	actionCreate = "CREATE"
	actionDelete = "DELETE"
	actionUpsert = "UPSERT"
)

// surroundings are what a batch may refer to outside of its zone.
type surroundings struct {
	healthChecks map[string]*healthCheck
	balancers    map[name]*balancer
}

// apply returns the state that a batch makes of a zone's records, or the error with which Route 53 refuses the whole batch.
// It changes nothing.
func apply(z *zone, batch *xmlBatch, around surroundings) (*records, *apiError) {
	if batch == nil || len(batch.Changes) == 0 {
		return nil, invalidInput("a change batch needs at least one change")
	}
	for i, c := range batch.Changes {
		if err := checkShape(c); err != nil {
			return nil, invalidInput(fmt.Sprintf("change %d: %s", i+1, err))
		}
		if id := c.ResourceRecordSet.HealthCheckID; id != "" && c.Action != actionDelete {
			if check := around.healthChecks[id]; check == nil || check.deleted {
				return nil, noSuchHealthCheck(id)
			}
		}
	}
	messages := checkLimits(batch)
	next := z.latest().edit()
	seen := map[key][]string{}
	for _, c := range batch.Changes {
		set, err := parseRecordSet(z, c.ResourceRecordSet)
		if err != nil {
			messages = append(messages, err.Error())
			continue
		}
		seen[set.key] = append(seen[set.key], c.Action)
		if err := applyOne(next, c.Action, set, seen[set.key]); err != nil {
			messages = append(messages, err.Error())
			continue
		}
		if c.Action != actionDelete && set.alias != nil {
			if err := checkAlias(z, next, set, around); err != nil {
				messages = append(messages, fmt.Sprintf("%s: %s", set, err))
			}
		}
	}
	for n := range next.touched {
		messages = append(messages, checkNeighbours(z, next.byName, n)...)
	}
	if len(messages) > 0 {
		slices.Sort(messages)
		return nil, &apiError{status: http.StatusBadRequest, code: "InvalidChangeBatch", message: "the change batch is invalid", messages: slices.Compact(messages)}
	}
	return newRecords(next.byName), nil
}

// String names a record set in messages.
func (r *recordSet) String() string {
	s := fmt.Sprintf("record set %s of type %s", r.name, r.recordType)
	if r.setIdentifier != "" {
		s += fmt.Sprintf(", set identifier %q", r.setIdentifier)
	}
	return s
}

// checkShape finds what Route 53 reports as InvalidInput before it looks at the zone.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
func checkShape(c xmlChange) error {
	r := c.ResourceRecordSet
	switch {
	case c.Action != actionCreate && c.Action != actionDelete && c.Action != actionUpsert:
		return fmt.Errorf("action %q is none of CREATE, DELETE, UPSERT", c.Action)
	case r == nil || r.Name == "":
		return errors.New("a record set with a name is needed")
	case !slices.Contains(recordTypes, r.Type):
		return fmt.Errorf("record type %q is unknown", r.Type)
	case r.Region != "" || r.Failover != "" || r.GeoLocation != nil || r.GeoProximityLocation != nil ||
		r.MultiValueAnswer != nil || r.CidrRoutingConfig != nil || r.TrafficPolicyInstanceID != "":
		return errors.New("this routing policy is not emulated: only simple and weighted routing are")
	case r.AliasTarget != nil && (r.TTL != nil || r.ResourceRecords != nil):
		return errors.New("an alias target excludes a TTL and resource records")
	case r.AliasTarget == nil && (r.TTL == nil || r.ResourceRecords == nil || len(r.ResourceRecords.ResourceRecord) == 0):
		return errors.New("either an alias target, or a TTL and resource records are needed")
	case r.TTL != nil && (*r.TTL < 0 || *r.TTL > maxTTL):
		return fmt.Errorf("TTL %d is outside of 0 to %d", *r.TTL, maxTTL)
	case r.Weight != nil && r.SetIdentifier == "":
		return errors.New("a weight needs a set identifier")
	case r.Weight == nil && r.SetIdentifier != "":
		return errors.New("a set identifier needs a routing policy, such as a weight")
	case r.Weight != nil && (*r.Weight < 0 || *r.Weight > maxWeight):
		return fmt.Errorf("weight %d is outside of 0 to %d", *r.Weight, maxWeight)
	case len(r.SetIdentifier) > maxSetIdentifier:
		return fmt.Errorf("the set identifier has %d characters, at most %d are allowed", len(r.SetIdentifier), maxSetIdentifier)
	case r.AliasTarget != nil && (r.AliasTarget.HostedZoneID == "" || r.AliasTarget.DNSName == ""):
		return errors.New("an alias target needs a hosted zone id and a DNS name")
	}
	return nil
}

// checkLimits counts the elements and characters of a batch; those of an UPSERT count twice. An alias counts as an element.
func checkLimits(batch *xmlBatch) (messages []string) {
	var elements, characters int
	for _, c := range batch.Changes {
		factor := 1
		if c.Action == actionUpsert {
			factor = 2
		}
		if c.ResourceRecordSet.ResourceRecords == nil {
			elements += factor
			continue
		}
		for _, value := range c.ResourceRecordSet.ResourceRecords.ResourceRecord {
			elements += factor
			characters += factor * len(value.Value)
		}
	}
	if elements > maxBatchRecords {
		messages = append(messages, fmt.Sprintf("the batch has %d resource records, at most %d are allowed (UPSERT counts twice)", elements, maxBatchRecords))
	}
	if characters > maxBatchCharacters {
		messages = append(messages, fmt.Sprintf("the batch has %d characters in values, at most %d are allowed (UPSERT counts twice)", characters, maxBatchCharacters))
	}
	return messages
}

// parseRecordSet normalises a record set and checks what does not depend on others.
func parseRecordSet(z *zone, x *xmlRecordSet) (*recordSet, error) {
	n, err := parseName(x.Name)
	if err != nil {
		return nil, err
	}
	set := &recordSet{key: key{n, x.Type, x.SetIdentifier}, healthCheck: x.HealthCheckID}
	switch {
	case !n.within(z.name):
		return nil, fmt.Errorf("%s lies outside of hosted zone %s", set, z.name)
	case x.Type == "CNAME" && n == z.name:
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#CNAMEFormat
		return nil, fmt.Errorf("%s: a CNAME cannot be at the apex of a hosted zone", set)
	case x.Type == "NS" && strings.HasPrefix(string(n), wildcard+"."):
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html#domain-name-format-asterisk
		return nil, fmt.Errorf("%s: a wildcard cannot have the type NS", set)
	case x.Type == "SOA" && n != z.name:
		return nil, fmt.Errorf("%s: only the apex of a hosted zone has a SOA", set)
	case x.Weight != nil && slices.Contains(simpleOnly, x.Type):
		return nil, fmt.Errorf("%s: this type has no weighted routing", set)
	}
	if x.Weight != nil {
		set.weighted, set.weight = true, *x.Weight
	}
	if x.AliasTarget != nil {
		target, err := parseName(x.AliasTarget.DNSName)
		if err != nil {
			return nil, fmt.Errorf("%s: alias target: %w", set, err)
		}
		set.alias = &aliasTarget{strings.TrimPrefix(x.AliasTarget.HostedZoneID, "/hostedzone/"), target, x.AliasTarget.EvaluateTargetHealth}
		return set, nil
	}
	set.ttl = *x.TTL
	for _, value := range x.ResourceRecords.ResourceRecord {
		if err := checkValue(x.Type, value.Value); err != nil {
			return nil, fmt.Errorf("%s: value %q: %w", set, value.Value, err)
		}
		if slices.Contains(set.values, value.Value) {
			return nil, fmt.Errorf("%s: value %q is given twice", set, value.Value)
		}
		set.values = append(set.values, value.Value)
	}
	switch {
	case set.weighted && len(set.values) > 1:
		// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html#Route53-Type-ResourceRecordSet-Weight
		return nil, fmt.Errorf("%s: a weighted record set has one resource record, not %d", set, len(set.values))
	case x.Type == "CNAME" && len(set.values) > 1:
		return nil, fmt.Errorf("%s: a CNAME has one resource record, not %d", set, len(set.values))
	case len(set.values) > maxValues:
		return nil, fmt.Errorf("%s has %d resource records, at most %d are allowed", set, len(set.values), maxValues)
	}
	return set, nil
}

// checkValue checks the format of one value.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html
func checkValue(recordType, value string) error {
	switch recordType {
	case "A", "AAAA":
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" || addr.Is4() != (recordType == "A") {
			return fmt.Errorf("not an address of type %s", recordType)
		}
		return nil
	case "CNAME", "NS", "PTR":
		_, err := parseName(value)
		return err
	case "TXT", "SPF":
		_, err := parseStrings(value)
		return err
	}
	rr, err := mdns.NewRR(". 0 IN " + recordType + " " + value)
	if err != nil {
		return fmt.Errorf("not a value of type %s: %w", recordType, err)
	}
	if rr == nil {
		return errors.New("the value is empty")
	}
	return nil
}

// applyOne makes one change of a batch; actions are those that the batch has for this record set so far, this one included.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
func applyOne(next *editor, action string, set *recordSet, actions []string) error {
	if len(actions) > 1 && !slices.Equal(actions, []string{actionDelete, actionCreate}) {
		return fmt.Errorf("%s: a batch may change a record set once, or DELETE and then CREATE it, not %s", set, strings.Join(actions, ", "))
	}
	current := next.get(set.key)
	switch {
	case action == actionCreate && current != nil:
		return fmt.Errorf("%s: CREATE found that it already exists", set)
	case action == actionDelete && current == nil:
		return fmt.Errorf("%s: DELETE did not find it", set)
	case action == actionDelete && !current.equal(set):
		return fmt.Errorf("%s: DELETE found it with other values than those given", set)
	case action == actionDelete:
		next.remove(set.key)
		return nil
	}
	next.put(set)
	return nil
}

// checkAlias checks where an alias points.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html
func checkAlias(z *zone, next *editor, set *recordSet, around surroundings) error {
	target := set.alias
	if set.recordType == "NS" || set.recordType == "SOA" {
		return errors.New("this type cannot be an alias")
	}
	if target.zoneID != z.id {
		return checkBalancerAlias(set, around.balancers)
	}
	if !target.name.within(z.name) {
		return fmt.Errorf("alias target %s lies outside of its hosted zone %s", target.name, z.id)
	}
	if len(groupOf(next.byName, target.name, set.recordType)) == 0 {
		return fmt.Errorf("alias target %s of the same type was not found in the hosted zone", target.name)
	}
	if reaches(next.byName, z.id, target.name, set.key, 0) {
		return fmt.Errorf("alias target %s leads back to the alias", target.name)
	}
	return nil
}

// reaches reports whether aliases lead from n to the name and type of k.
func reaches(byName map[name][]*recordSet, zoneID string, n name, k key, depth int) bool {
	if n == k.name || depth > len(byName) {
		return true
	}
	return slices.ContainsFunc(groupOf(byName, n, k.recordType), func(set *recordSet) bool {
		return set.alias != nil && set.alias.zoneID == zoneID && reaches(byName, zoneID, set.alias.name, k, depth+1)
	})
}

// checkNeighbours judges all record sets of one name together, after the batch.
func checkNeighbours(z *zone, byName map[name][]*recordSet, n name) (messages []string) {
	groups := map[string][]*recordSet{}
	for _, set := range byName[n] {
		groups[set.recordType] = append(groups[set.recordType], set)
	}
	refuse := func(format string, args ...any) { messages = append(messages, fmt.Sprintf(format, args...)) }
	if len(groups["CNAME"]) > 0 && len(groups) > 1 {
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#CNAMEFormat
		refuse("name %s: a CNAME excludes records of other types", n)
	}
	for recordType, group := range groups {
		var weighted int
		var timed []*recordSet
		for _, set := range group {
			if set.weighted {
				weighted++
			}
			if set.alias == nil {
				timed = append(timed, set)
			}
		}
		switch {
		case weighted > 0 && weighted < len(group):
			// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-values-weighted-alias.html
			refuse("name %s, type %s: weighted record sets exclude a simple one", n, recordType)
		case weighted > maxWeighted:
			refuse("name %s, type %s: %d weighted record sets, at most %d are allowed", n, recordType, weighted, maxWeighted)
		}
		if i := slices.IndexFunc(timed, func(set *recordSet) bool { return set.ttl != timed[0].ttl }); i > 0 {
			// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-values-weighted.html
			refuse("name %s, type %s: weighted record sets must have one TTL, not %d and %d", n, recordType, timed[0].ttl, timed[i].ttl)
		}
	}
	if n == z.name {
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/SOA-NSrecords.html
		for _, recordType := range []string{"NS", "SOA"} {
			if len(groups[recordType]) == 0 {
				refuse("hosted zone %s must keep its record set of type %s", z.name, recordType)
			}
		}
	}
	return messages
}

// parseStrings reads the value of a TXT record: strings in quotation marks, of at most 255 bytes each, with octal escape codes.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat
func parseStrings(value string) ([]string, error) {
	if len(value) > maxTXT {
		return nil, fmt.Errorf("it has %d characters, at most %d are allowed", len(value), maxTXT)
	}
	var texts []string
	for rest := strings.TrimLeft(value, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] != '"' {
			return nil, errors.New("each string must stand in quotation marks")
		}
		text, size, err := quoted(rest[1:])
		if err != nil {
			return nil, err
		}
		if len(text) > maxString {
			return nil, fmt.Errorf("a string has %d bytes, at most %d are allowed", len(text), maxString)
		}
		texts, rest = append(texts, text), rest[1+size:]
	}
	if len(texts) == 0 {
		return nil, errors.New("at least one string is needed")
	}
	return texts, nil
}

// quoted decodes a string up to its closing quotation mark; size includes that.
func quoted(text string) (decoded string, size int, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), i + 1, nil
		case '\\':
			if i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\') {
				i++
				b.WriteByte(text[i])
				continue
			}
			code, n, err := escaped(text[i+1:], 8)
			if err != nil {
				return "", 0, err
			}
			b.WriteByte(code)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, errors.New("a quotation mark is not closed")
}

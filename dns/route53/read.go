package route53

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// pageSize is the most record sets that one call returns.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
const pageSize = 300

// snapshot has the record sets of the names that were read; a name without any has an entry too.
type snapshot map[string][]*types.ResourceRecordSet

// span is a part of a zone to read: one name, or all names below and at one.
type span struct {
	name, key string
	subtree   bool
}

// contains reports whether a name belongs to the span.
func (s span) contains(name string) bool {
	return name == s.name || s.subtree && within(name, s.name)
}

// passed reports whether nothing of the span comes at a name or after it.
func (s span) passed(name string) bool { return !s.contains(name) && sortKey(name) > s.key }

// read adds to a snapshot the record sets of names and of all names at or below the roots. It starts at the first name,
// and jumps to the next one that a page did not reach: a few names cost one call each, or less where they are neighbours, and
// many never more than a walk through the zone.
func (b *Backend) read(ctx context.Context, zone *hostedZone, into snapshot, names, roots []string) error {
	spans := spansOf(into, names, roots)
	input := &sdk.ListResourceRecordSetsInput{HostedZoneId: aws.String(zone.id), MaxItems: aws.Int32(pageSize)}
	for len(spans) > 0 {
		first := spans[0]
		if input.StartRecordName == nil {
			input.StartRecordName = aws.String(apiName(first.name))
		}
		page, err := call(ctx, b, opListResourceRecordSets, zone, func(ctx context.Context) (*sdk.ListResourceRecordSetsOutput, error) {
			return b.api.ListResourceRecordSets(ctx, input, noRetries)
		})
		if err != nil {
			return err
		}
		for i := range page.ResourceRecordSets {
			set := &page.ResourceRecordSets[i]
			name := plainName(aws.ToString(set.Name))
			for len(spans) > 0 && spans[0].passed(name) {
				spans = spans[1:]
			}
			if len(spans) > 0 && spans[0].contains(name) {
				into[name] = append(into[name], set)
			}
		}
		if !page.IsTruncated {
			return nil
		}
		next := plainName(aws.ToString(page.NextRecordName))
		if len(spans) > 0 && spans[0] == first && !first.contains(next) {
			spans = spans[1:] // the page began there and is past it, however Route 53 orders unusual names
		}
		for len(spans) > 0 && spans[0].passed(next) {
			spans = spans[1:]
		}
		input.StartRecordName, input.StartRecordType, input.StartRecordIdentifier = nil, "", nil
		if len(spans) > 0 && spans[0].contains(next) {
			input.StartRecordName, input.StartRecordType, input.StartRecordIdentifier = page.NextRecordName, page.NextRecordType, page.NextRecordIdentifier
		}
	}
	return nil
}

// spansOf marks the names as read and returns what has to be read, in the order of the zone, nothing twice.
func spansOf(into snapshot, names, roots []string) []span {
	var spans []span
	for _, root := range roots {
		spans = append(spans, span{root, sortKey(root), true})
	}
	for _, name := range names {
		if _, done := into[name]; done || slices.ContainsFunc(roots, func(root string) bool { return within(name, root) }) {
			continue
		}
		into[name] = nil
		spans = append(spans, span{name, sortKey(name), false})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.key, b.key) })
	return spans
}

package route53

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// pageSize is the most record sets that one call returns.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
const pageSize = 300

// snapshot has the record sets of the names that were read; a name without any may have an entry too.
type snapshot map[string][]*types.ResourceRecordSet

// span is a part of a zone to read: one name, or all names at and below one.
type span struct {
	name, key string
	subtree   bool
}

// contains reports whether a name belongs to the span.
func (s span) contains(name string) bool {
	return name == s.name || s.subtree && within(name, s.name)
}

// end is a sort key that comes after all names of the span, and not after any other.
func (s span) end() string {
	if s.subtree {
		return strings.TrimSuffix(s.key, ".") + "/" // "/" follows "." in ASCII
	}
	return s.key + "\x00"
}

// extent is a part of a zone that was read without a gap: all record sets whose sort key is at least from and less than to.
type extent struct {
	at       time.Time
	from, to string
	sets     snapshot
}

// endOfZone is greater than every sort key.
const endOfZone = "\xff"

func (e *extent) covers(s span) bool { return e.from <= s.key && s.end() <= e.to }

// copyTo adds the record sets of a span to a snapshot.
func (e *extent) copyTo(into snapshot, s span) {
	if !s.subtree {
		into[s.name] = e.sets[s.name]
		return
	}
	for name, sets := range e.sets {
		if s.contains(name) {
			into[name] = sets
		}
	}
}

// read adds to a snapshot the record sets of names and of all names at or below the roots. Pages begin at what is wanted and
// are kept for ReadTTL, and for as long as it takes to read them all: neighbours share a page, names that lie apart cost one call each, and many
// never more than a walk through the zone. The caller has the zone's turn.
func (b *Backend) read(ctx context.Context, zone *hostedZone, into snapshot, names, roots []string) error {
	now := b.opts.Clock.Now()
	// Else the first pages of a large zone would be read again before the last ones are.
	kept := b.opts.ReadTTL + time.Duration(float64(len(zone.extents))/float64(b.opts.Rate)*float64(time.Second))
	zone.extents = slices.DeleteFunc(zone.extents, func(e *extent) bool { return now.Sub(e.at) >= kept })
	for _, s := range spansOf(into, names, roots) {
		i := slices.IndexFunc(zone.extents, func(e *extent) bool { return e.covers(s) })
		if i < 0 {
			e, err := b.walk(ctx, zone, s)
			if err != nil {
				return err
			}
			i = len(zone.extents)
			zone.extents = append(zone.extents, e)
		}
		zone.extents[i].copyTo(into, s)
	}
	return nil
}

// walk reads pages from the beginning of a span until they have all of it.
func (b *Backend) walk(ctx context.Context, zone *hostedZone, s span) (*extent, error) {
	e := &extent{at: b.opts.Clock.Now(), from: s.key, to: endOfZone, sets: snapshot{}}
	input := &sdk.ListResourceRecordSetsInput{
		HostedZoneId: aws.String(zone.id), MaxItems: aws.Int32(pageSize), StartRecordName: aws.String(apiName(s.name)),
	}
	for {
		page, err := call(ctx, b, opListResourceRecordSets, zone, func(ctx context.Context) (*sdk.ListResourceRecordSetsOutput, error) {
			return b.api.ListResourceRecordSets(ctx, input, noRetries)
		})
		if err != nil {
			return nil, err
		}
		for i := range page.ResourceRecordSets {
			set := &page.ResourceRecordSets[i]
			name := plainName(aws.ToString(set.Name))
			e.sets[name] = append(e.sets[name], set)
		}
		if !page.IsTruncated {
			return e, nil
		}
		// A page may end within the record sets of a name: that name is not read before the next page is.
		next := plainName(aws.ToString(page.NextRecordName))
		if !s.contains(next) {
			e.to = sortKey(next)
			delete(e.sets, next)
			return e, nil
		}
		input.StartRecordName, input.StartRecordType, input.StartRecordIdentifier = page.NextRecordName, page.NextRecordType, page.NextRecordIdentifier
	}
}

// spansOf returns what is to be read and is not in the snapshot yet, in the order of the zone, nothing twice.
func spansOf(into snapshot, names, roots []string) []span {
	wanted := map[string]span{}
	for _, name := range names {
		_, done := into[name]
		if !done && !slices.ContainsFunc(roots, func(root string) bool { return within(name, root) }) {
			wanted[name] = span{name, sortKey(name), false}
		}
	}
	for _, root := range roots {
		wanted[root] = span{root, sortKey(root), true}
	}
	return slices.SortedFunc(maps.Values(wanted), func(a, b span) int { return cmp.Compare(a.key, b.key) })
}

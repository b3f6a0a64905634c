package route53

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	ktypes "k8s.io/apimachinery/pkg/types"
)

// hostedZone is a zone that the backend may write to.
type hostedZone struct {
	id, name string // the name as in dns.Record
	// turn holds one token: who has it may write the zone. Changes of a zone are made one after the other, since Route 53
	// answers PriorRequestNotComplete otherwise.
	turn chan struct{}
	// extents are the parts that were read of late. Guarded by the turn.
	extents []*extent
	// owned has, for each cluster, the names that its ownership records claim. Guarded by Backend.mu.
	owned map[string]*ownedNames
}

// ownedNames are the names in a zone that a cluster owns, as they were at a time and as this process has changed them since.
type ownedNames struct {
	at      time.Time
	byOwner map[ktypes.NamespacedName]map[string]bool
}

func (o *ownedNames) set(ingress ktypes.NamespacedName, name string, owned bool) {
	names := o.byOwner[ingress]
	switch {
	case owned && names == nil:
		o.byOwner[ingress] = map[string]bool{name: true}
	case owned:
		names[name] = true
	default:
		delete(names, name)
	}
}

func (z *hostedZone) String() string { return fmt.Sprintf("%s (%s)", z.name, z.id) }

// lock waits for the zone's turn.
func (z *hostedZone) lock(ctx context.Context) error {
	select {
	case z.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hosted zone %s: waiting for another change of this process: %w", z, ctx.Err())
	}
}

func (z *hostedZone) unlock() { <-z.turn }

// zoneSet are all zones that may be written to. It is not changed once it is made.
type zoneSet struct {
	at     time.Time
	all    []*hostedZone // by id
	byName map[string][]*hostedZone
}

// find returns the zone whose name is the longest suffix of a name.
func (s *zoneSet) find(name string) (*hostedZone, error) {
	for at, more := name, true; more; _, at, more = strings.Cut(at, ".") {
		switch zones := s.byName[at]; len(zones) {
		case 0:
		case 1:
			return zones[0], nil
		default:
			return nil, fmt.Errorf("name %s lies in several hosted zones, %s: name the one to use in the option Zones", name, list(zones))
		}
	}
	return nil, fmt.Errorf("host %s lies outside of every hosted zone that is used, %s: create a hosted zone for it, or add it to the option Zones", name, list(s.all))
}

// zoneOf returns the zone of a record's name. A name below a host, such as an inner set's, must lie in the host's own zone:
// aliases do not reach into another one.
func (s *zoneSet) zoneOf(name, clusterLabel string) (*hostedZone, error) {
	host := hostOf(name, clusterLabel)
	zone, err := s.find(host)
	if err != nil || name == host {
		return zone, err
	}
	if deeper, err := s.find(name); err != nil {
		return nil, err
	} else if deeper != zone {
		return nil, fmt.Errorf("name %s lies in hosted zone %s, deeper than %s of its host %s, and an alias cannot reach it there: remove that hosted zone", name, deeper, zone, host)
	}
	return zone, nil
}

func list(zones []*hostedZone) string {
	const most = 10
	var names []string
	for i, z := range zones {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(zones)-most))
			break
		}
		names = append(names, z.String())
	}
	return strings.Join(names, ", ")
}

// zones returns the zones that may be written to, from memory for Options.ZoneCacheTTL. A list that cannot be renewed is used
// until it can.
func (b *Backend) zones(ctx context.Context) (*zoneSet, error) {
	select {
	case b.zonesTurn <- struct{}{}:
		defer func() { <-b.zonesTurn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("list hosted zones: %w", ctx.Err())
	}
	if b.known != nil && b.opts.Clock.Since(b.known.at) < b.opts.ZoneCacheTTL && !b.zonesStale.Load() {
		return b.known, nil
	}
	renewed, err := b.listZones(ctx)
	switch {
	case err == nil:
		b.known = renewed
		b.zonesStale.Store(false)
	case b.known == nil:
		return nil, err
	default:
		b.log.Warnw("hosted zones could not be listed again, those that are known are used", "error", err)
	}
	return b.known, nil
}

func (b *Backend) listZones(ctx context.Context) (*zoneSet, error) {
	set := &zoneSet{at: b.opts.Clock.Now(), byName: map[string][]*hostedZone{}}
	missing := map[string]bool{}
	for _, id := range b.opts.Zones {
		missing[zoneID(id)] = true
	}
	input := &sdk.ListHostedZonesInput{}
	for {
		page, err := call(ctx, b, opListHostedZones, nil, func(ctx context.Context) (*sdk.ListHostedZonesOutput, error) {
			return b.api.ListHostedZones(ctx, input, noRetries)
		})
		if err != nil {
			return nil, err
		}
		for _, z := range page.HostedZones {
			id := zoneID(aws.ToString(z.Id))
			private := z.Config != nil && z.Config.PrivateZone
			if len(b.opts.Zones) == 0 && (!private || b.opts.PrivateZones) || missing[id] {
				set.add(b.known, id, plainName(aws.ToString(z.Name)))
			}
			delete(missing, id)
		}
		if !page.IsTruncated {
			break
		}
		input.Marker = page.NextMarker
	}
	for id := range missing {
		return nil, fmt.Errorf("hosted zone %s of the option Zones is not among those that the credentials see: correct the id, or use credentials of the account that has it", id)
	}
	if len(set.all) == 0 {
		return nil, fmt.Errorf("the credentials see no public hosted zone, so nothing can be published: create one, or set the option Zones or PrivateZones")
	}
	slices.SortFunc(set.all, func(x, y *hostedZone) int { return cmp.Compare(x.id, y.id) })
	return set, nil
}

// add adds a zone, the one that is known already if it is.
func (s *zoneSet) add(known *zoneSet, id, name string) {
	z := &hostedZone{id: id, name: name, turn: make(chan struct{}, 1), owned: map[string]*ownedNames{}}
	if known != nil {
		if i := slices.IndexFunc(known.all, func(old *hostedZone) bool { return old.id == id && old.name == name }); i >= 0 {
			z = known.all[i]
		}
	}
	s.all = append(s.all, z)
	s.byName[name] = append(s.byName[name], z)
}

func zoneID(id string) string { return strings.TrimPrefix(id, "/hostedzone/") }

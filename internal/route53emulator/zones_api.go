package route53emulator

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// zone returns the hosted zone that the request names.
func (s *Server) zone(r *request) (*zone, *apiError) {
	id := r.PathValue("zone")
	if z := s.zones[id]; z != nil {
		return z, nil
	}
	return nil, noSuchHostedZone(id)
}

func noSuchHostedZone(id string) *apiError {
	return &apiError{status: http.StatusNotFound, code: "NoSuchHostedZone", message: fmt.Sprintf("there is no hosted zone %q", id)}
}

func (z *zone) xml() xmlZone {
	return xmlZone{
		ID: "/hostedzone/" + z.id, Name: string(z.name), CallerReference: z.callerReference,
		Config: xmlZoneConfig{Comment: z.comment}, ResourceRecordSetCount: len(z.latest().sorted()),
	}
}

// createHostedZone: https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHostedZone.html
func (s *Server) createHostedZone(r *request) (any, *apiError) {
	var body createZoneRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.CallerReference == "":
		return nil, invalidInput("a caller reference is needed")
	case body.VPC != nil || body.HostedZoneConfig.PrivateZone || body.DelegationSetID != "":
		return nil, invalidInput("private hosted zones and reusable delegation sets are not emulated")
	}
	n, err := parseName(body.Name)
	if err != nil {
		return nil, &apiError{status: http.StatusBadRequest, code: "InvalidDomainName", message: err.Error()}
	}
	for _, z := range s.zones {
		if z.callerReference == body.CallerReference {
			return nil, &apiError{status: http.StatusConflict, code: "HostedZoneAlreadyExists", message: "the caller reference was used for hosted zone " + z.id}
		}
	}
	z := s.newZone(n, body.HostedZoneConfig.Comment)
	z.callerReference = body.CallerReference
	info := s.changeInfo(z.versions[0].change)
	r.status = http.StatusCreated
	r.location = s.endpoint + "/2013-04-01/hostedzone/" + z.id
	return zoneResponse{
		XMLName: element("CreateHostedZoneResponse"), HostedZone: z.xml(), ChangeInfo: &info,
		DelegationSet: xmlDelegationSet{s.nameServerNames()},
	}, nil
}

func (s *Server) getHostedZone(r *request) (any, *apiError) {
	z, err := s.zone(r)
	if err != nil {
		return nil, err
	}
	return zoneResponse{XMLName: element("GetHostedZoneResponse"), HostedZone: z.xml(), DelegationSet: xmlDelegationSet{s.nameServerNames()}}, nil
}

// deleteHostedZone: https://docs.aws.amazon.com/Route53/latest/APIReference/API_DeleteHostedZone.html
func (s *Server) deleteHostedZone(r *request) (any, *apiError) {
	z, err := s.zone(r)
	if err != nil {
		return nil, err
	}
	for _, set := range z.latest().sorted() {
		if set.name != z.name || set.recordType != "NS" && set.recordType != "SOA" {
			return nil, &apiError{status: http.StatusBadRequest, code: "HostedZoneNotEmpty", message: fmt.Sprintf("hosted zone %s still has %s", z.id, set)}
		}
	}
	now := s.opts.Clock.Now()
	c := s.newChange("")
	z.push(version{nil, c}, now, s.maxLag())
	delete(s.zones, z.id)
	s.served = slices.DeleteFunc(slices.Clone(s.served), func(old *zone) bool {
		return s.zones[old.id] == nil && old.id != z.id && old.at(now, s.maxLag()) == nil
	})
	return changeResponse{element("DeleteHostedZoneResponse"), s.changeInfo(c)}, nil
}

// listHostedZones: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZones.html
func (s *Server) listHostedZones(r *request) (any, *apiError) {
	maxItems, err := r.maxItems(100)
	if err != nil {
		return nil, err
	}
	marker := r.URL.Query().Get("marker")
	zones := slices.SortedFunc(maps.Values(s.zones), func(a, b *zone) int { return cmp.Compare(a.id, b.id) })
	zones = slices.DeleteFunc(zones, func(z *zone) bool { return z.id < marker })
	response := listZonesResponse{XMLName: element("ListHostedZonesResponse"), Marker: marker, MaxItems: maxItems}
	if len(zones) > maxItems {
		response.IsTruncated, response.NextMarker = true, zones[maxItems].id
		zones = zones[:maxItems]
	}
	for _, z := range zones {
		response.HostedZones.HostedZone = append(response.HostedZones.HostedZone, z.xml())
	}
	return response, nil
}

// listHostedZonesByName: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZonesByName.html
func (s *Server) listHostedZonesByName(r *request) (any, *apiError) {
	maxItems, err := r.maxItems(100)
	if err != nil {
		return nil, err
	}
	start, startID := r.URL.Query().Get("dnsname"), r.URL.Query().Get("hostedzoneid")
	if start == "" && startID != "" {
		return nil, invalidInput("a hosted zone id to start from needs a DNS name")
	}
	zones := slices.SortedFunc(maps.Values(s.zones), func(a, b *zone) int {
		return cmp.Or(cmp.Compare(a.name.sortKey(), b.name.sortKey()), cmp.Compare(a.id, b.id))
	})
	if start != "" {
		n, err := parseName(start)
		if err != nil {
			return nil, &apiError{status: http.StatusBadRequest, code: "InvalidDomainName", message: err.Error()}
		}
		zones = slices.DeleteFunc(zones, func(z *zone) bool {
			return cmp.Or(cmp.Compare(z.name.sortKey(), n.sortKey()), cmp.Compare(z.id, startID)) < 0
		})
	}
	response := listZonesResponse{XMLName: element("ListHostedZonesByNameResponse"), DNSName: start, HostedZoneID: startID, MaxItems: maxItems}
	if len(zones) > maxItems {
		response.IsTruncated, response.NextDNSName, response.NextHostedZoneID = true, string(zones[maxItems].name), zones[maxItems].id
		zones = zones[:maxItems]
	}
	for _, z := range zones {
		response.HostedZones.HostedZone = append(response.HostedZones.HostedZone, z.xml())
	}
	return response, nil
}

// tagged returns the hosted zone of a call about tags; only hosted zones have tags here.
func (s *Server) tagged(r *request, id string) (*zone, *apiError) {
	if resourceType := r.PathValue("type"); resourceType != "hostedzone" {
		return nil, invalidInput(fmt.Sprintf("tags of resource type %q are not emulated", resourceType))
	}
	if z := s.zones[id]; z != nil {
		return z, nil
	}
	return nil, noSuchHostedZone(id)
}

func (z *zone) tagSet() xmlTagSet {
	set := xmlTagSet{ResourceType: "hostedzone", ResourceID: z.id}
	for _, k := range slices.Sorted(maps.Keys(z.tags)) {
		set.Tags.Tag = append(set.Tags.Tag, xmlTag{k, z.tags[k]})
	}
	return set
}

func (s *Server) listTagsForResource(r *request) (any, *apiError) {
	z, err := s.tagged(r, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return tagsResponse{element("ListTagsForResourceResponse"), z.tagSet()}, nil
}

// listTagsForResources: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListTagsForResources.html
func (s *Server) listTagsForResources(r *request) (any, *apiError) {
	var body tagsForResourcesRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	if n := len(body.ResourceIDs); n < 1 || n > 10 {
		return nil, invalidInput(fmt.Sprintf("%d resource ids were given, 1 to 10 are allowed", n))
	}
	response := tagsForResourcesResponse{XMLName: element("ListTagsForResourcesResponse")}
	for _, id := range body.ResourceIDs {
		z, err := s.tagged(r, id)
		if err != nil {
			return nil, err
		}
		response.ResourceTagSets = append(response.ResourceTagSets, z.tagSet())
	}
	return response, nil
}

// changeTagsForResource: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeTagsForResource.html
func (s *Server) changeTagsForResource(r *request) (any, *apiError) {
	z, err := s.tagged(r, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var body changeTagsRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	for _, tag := range body.AddTags {
		z.tags[tag.Key] = tag.Value
	}
	for _, k := range body.RemoveTagKeys {
		delete(z.tags, k)
	}
	return emptyResponse{element("ChangeTagsForResourceResponse")}, nil
}

package route53emulator

import (
	"cmp"
	"fmt"
	"net/http"
	"sort"
	"strings"
)

// pageSize of ListResourceRecordSets: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
const pageSize = 300

// listResourceRecordSets: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
func (s *Server) listResourceRecordSets(r *request) (any, *apiError) {
	z, err := s.zone(r)
	if err != nil {
		return nil, err
	}
	maxItems, err := r.maxItems(pageSize)
	if err != nil {
		return nil, err
	}
	sets := z.latest().sorted()
	first, err := startOf(r, sets)
	if err != nil {
		return nil, err
	}
	sets = sets[first:]
	response := listRecordSetsResponse{XMLName: element("ListResourceRecordSetsResponse"), MaxItems: maxItems}
	if len(sets) > maxItems {
		next := sets[maxItems]
		response.IsTruncated = true
		response.NextRecordName, response.NextRecordType, response.NextRecordIdentifier = string(next.name), next.recordType, next.setIdentifier
		sets = sets[:maxItems]
	}
	for _, set := range sets {
		response.ResourceRecordSets.ResourceRecordSet = append(response.ResourceRecordSets.ResourceRecordSet, toXML(set))
	}
	return response, nil
}

// startOf finds the first record set whose name, type and identifier are not before those of the request. The type only
// matters among record sets of one name, the identifier among those of one type.
func startOf(r *request, sets []*recordSet) (int, *apiError) {
	query := r.URL.Query()
	start, recordType, identifier := query.Get("name"), query.Get("type"), query.Get("identifier")
	switch {
	case recordType != "" && start == "":
		return 0, invalidInput("a type to start from needs a name")
	case identifier != "" && recordType == "":
		return 0, invalidInput("an identifier to start from needs a name and a type")
	case start == "":
		return 0, nil
	}
	n, err := parseName(start)
	if err != nil {
		return 0, invalidInput(err.Error())
	}
	sortKey := n.sortKey()
	return sort.Search(len(sets), func(i int) bool {
		return cmp.Or(cmp.Compare(sets[i].name.sortKey(), sortKey), cmp.Compare(sets[i].recordType, recordType),
			cmp.Compare(sets[i].setIdentifier, identifier)) >= 0
	}), nil
}

// changeResourceRecordSets: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
func (s *Server) changeResourceRecordSets(r *request) (any, *apiError) {
	z, err := s.zone(r)
	if err != nil {
		return nil, err
	}
	var body changeRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	now := s.opts.Clock.Now()
	if now.Before(z.busyUntil) {
		return nil, Busy.apiError()
	}
	next, err := apply(z, body.ChangeBatch, surroundings{s.healthChecks, s.balancers})
	if err != nil {
		return nil, err
	}
	z.busyUntil = now.Add(s.opts.ProcessingTime)
	c := s.newChange(body.ChangeBatch.Comment)
	z.push(version{next, c}, now, s.maxLag())
	return changeResponse{element("ChangeResourceRecordSetsResponse"), s.changeInfo(c)}, nil
}

// getChange: https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html
func (s *Server) getChange(r *request) (any, *apiError) {
	id := strings.TrimPrefix(r.PathValue("id"), "/change/")
	c := s.changes[id]
	if c == nil || s.opts.ChangeRetention > 0 && s.opts.Clock.Since(c.submitted) >= s.opts.ChangeRetention {
		return nil, &apiError{status: http.StatusNotFound, code: "NoSuchChange", message: fmt.Sprintf("there is no change %q", id)}
	}
	return changeResponse{element("GetChangeResponse"), s.changeInfo(c)}, nil
}

// changeInfo: a change is INSYNC when all name servers have it.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeInfo.html
func (s *Server) changeInfo(c *change) xmlChangeInfo {
	info := xmlChangeInfo{ID: "/change/" + c.id, Status: "PENDING", SubmittedAt: xmlTime(c.submitted), Comment: c.comment}
	if !c.held && !s.opts.Clock.Now().Before(c.ready.Add(s.maxLag())) {
		info.Status = "INSYNC"
	}
	return info
}

package store

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// spellings is how often a condition is put anew because a value that people wrote, such as a time with another zone, means what was read.
const spellings = 3

// DynamoDBAPI is what a DynamoDB calls; *dynamodb.Client of the AWS SDK has it. The SDK's own retries are switched off in each call, because
// what may have been applied has to be remembered between attempts.
type DynamoDBAPI interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// DynamoDB keeps the row of a cluster in the table of the traffic controllers, which many clusters share. The key is ClusterName (S), alone; DesiredWeight
// and CurrentWeight are whole numbers (N), HealthCheckID is text (S). RampPhase, RampSince and RampMessage (S) and RampFrom, RampTo, RampWeight and
// RampFailures (N) are there in a row that has seen a gradual move, so that others who know the first four only may go on using the table.
//
// Reads are strongly consistent and writes are conditional, so that nothing is overwritten that somebody else has just written. The IAM actions
// dynamodb:GetItem and dynamodb:UpdateItem on the table suffice.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ConditionExpressions.html
type DynamoDB struct {
	api     DynamoDBAPI
	table   string
	cluster string
	opts    Options
	retryer aws.Retryer
}

var _ Store = (*DynamoDB)(nil)

// NewDynamoDB returns a DynamoDB, without a call. It returns ErrInvalid if a name is empty.
func NewDynamoDB(api DynamoDBAPI, table, cluster string, opts Options) (*DynamoDB, error) {
	if err := named([2]string{"cluster name", cluster}, [2]string{"table name", table}); err != nil {
		return nil, fmt.Errorf("table %q of cluster %q: %w", table, cluster, err)
	}
	return &DynamoDB{api: api, table: table, cluster: cluster, opts: opts.withDefaults(), retryer: retry.NewStandard()}, nil
}

// Read implements Store.
func (d *DynamoDB) Read(ctx context.Context) (Row, error) {
	ctx, cancel := context.WithTimeout(ctx, d.opts.CallTimeout)
	defer cancel()
	out, _, err := call(ctx, d, "GetItem", func(ctx context.Context) (*dynamodb.GetItemOutput, error) {
		in := &dynamodb.GetItemInput{TableName: &d.table, Key: d.key(), ConsistentRead: aws.Bool(true)}
		return d.api.GetItem(ctx, in, noRetries)
	})
	if err != nil {
		return Row{}, err
	}
	if len(out.Item) == 0 {
		return Row{}, d.wrap(ErrNotFound)
	}
	return d.row(out.Item)
}

// Create implements Store by an update of a row that must not exist, as the table's controllers always made theirs: a put would need one more
// permission. Losing a race is no error.
func (d *DynamoDB) Create(ctx context.Context, row Row) error {
	row, err := newRow(d.cluster, row)
	if err != nil {
		return d.wrap(err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.CallTimeout)
	defer cancel()
	u := newUpdate()
	for name, value := range items(attributes(row)) {
		if name != clusterName { // the key names itself
			u.assign(name, value)
		}
	}
	u.conditions = append(u.conditions, "attribute_not_exists("+clusterName+")")
	_, err = d.update(ctx, u)
	if _, exists := errors.AsType[*types.ConditionalCheckFailedException](err); exists {
		return nil
	}
	return err
}

// Acknowledge implements Store. The malformed and the deleted row are conflicts as well, since neither is as it was read.
//
// A write may be applied although its answer is lost, and then its repetition finds the row changed: by itself. So after an attempt whose outcome
// is not known, a row that holds what was to be written counts as written, even if it was another controller that wrote the very same just then.
func (d *DynamoDB) Acknowledge(ctx context.Context, read, row Row) error {
	row.ClusterName, row.DesiredWeight = d.cluster, read.DesiredWeight
	if err := writable(row); err != nil {
		return d.wrap(err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.CallTimeout)
	defer cancel()
	next, expected, unknown := items(attributes(row)), items(attributes(read)), false
	for range spellings {
		u := newUpdate()
		for _, name := range append([]string{currentWeight}, rampNames()...) {
			u.assign(name, next[name])
		}
		for _, name := range guardedNames() {
			u.expect(name, expected[name])
		}
		lost, err := d.update(ctx, u)
		failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
		if !ok {
			return err
		}
		unknown = unknown || lost
		if len(failed.Item) == 0 {
			return d.wrap(fmt.Errorf("%w: %w", ErrConflict, ErrNotFound))
		}
		now, err := d.row(failed.Item)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
		if unknown && conflict(row, now) == nil {
			return nil
		}
		if err := conflict(read, now); err != nil {
			return d.wrap(err)
		}
		expected = failed.Item
	}
	return d.wrap(ErrConflict)
}

// Desire implements Store. It also repairs a DesiredWeight that is malformed or missing.
func (d *DynamoDB) Desire(ctx context.Context, weight int) error {
	row := Row{ClusterName: d.cluster, DesiredWeight: weight}
	if err := writable(row); err != nil {
		return d.wrap(err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.CallTimeout)
	defer cancel()
	u := newUpdate()
	u.assign(desiredWeight, items(attributes(row))[desiredWeight])
	u.conditions = append(u.conditions, "attribute_exists("+clusterName+")")
	_, err := d.update(ctx, u)
	if _, missing := errors.AsType[*types.ConditionalCheckFailedException](err); missing {
		return d.wrap(ErrNotFound)
	}
	return err
}

// update sends an update; see call for unknown.
func (d *DynamoDB) update(ctx context.Context, u *update) (unknown bool, err error) {
	in := u.input()
	in.TableName, in.Key = &d.table, d.key()
	_, unknown, err = call(ctx, d, "UpdateItem", func(ctx context.Context) (*dynamodb.UpdateItemOutput, error) {
		return d.api.UpdateItem(ctx, in, noRetries)
	})
	return unknown, err
}

func (d *DynamoDB) key() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{clusterName: &types.AttributeValueMemberS{Value: d.cluster}}
}

// row parses an item, of which the attributes of others are ignored.
func (d *DynamoDB) row(item map[string]types.AttributeValue) (Row, error) {
	if err := misspelled(maps.Keys(item)); err != nil {
		return Row{}, d.wrap(err)
	}
	text := map[string]string{}
	for _, name := range append(guardedNames(), healthCheckID) {
		switch value := item[name].(type) {
		case nil:
			continue
		case *types.AttributeValueMemberN:
			if number(name) {
				text[name] = value.Value
				continue
			}
		case *types.AttributeValueMemberS:
			if !number(name) {
				text[name] = value.Value
				continue
			}
		}
		return Row{}, d.wrap(invalid(name, describe(item[name])+", which is of the wrong type"))
	}
	row, err := parse(d.cluster, text)
	if err != nil {
		return Row{}, d.wrap(err)
	}
	return row, nil
}

// wrap says which row an error is about.
func (d *DynamoDB) wrap(err error) error {
	return fmt.Errorf("table %q, cluster %q: %w", d.table, d.cluster, err)
}

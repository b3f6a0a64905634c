package store

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// describe says what an attribute holds, with its type as DynamoDB calls it.
func describe(value types.AttributeValue) string {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", value), "*types.AttributeValueMember")
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		return fmt.Sprintf("is %q (%s)", v.Value, kind)
	case *types.AttributeValueMemberN:
		return fmt.Sprintf("is %s (%s)", v.Value, kind)
	}
	return fmt.Sprintf("is a value of type %s", kind)
}

// items returns attributes with the types of the table.
func items(text map[string]string) map[string]types.AttributeValue {
	values := make(map[string]types.AttributeValue, len(text))
	for name, value := range text {
		if number(name) {
			values[name] = &types.AttributeValueMemberN{Value: value}
		} else {
			values[name] = &types.AttributeValueMemberS{Value: value}
		}
	}
	return values
}

// update is an UpdateItem in the making.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
type update struct {
	set, remove, conditions []string
	values                  map[string]types.AttributeValue
}

func newUpdate() *update { return &update{values: map[string]types.AttributeValue{}} }

// assign sets an attribute, or removes it if value is nil.
func (u *update) assign(name string, value types.AttributeValue) {
	if value == nil {
		u.remove = append(u.remove, name)
		return
	}
	u.set = append(u.set, name+" = "+u.placeholder(value))
}

// expect makes a condition of an attribute's value; nil is that there is none.
func (u *update) expect(name string, value types.AttributeValue) {
	if value == nil {
		u.conditions = append(u.conditions, "attribute_not_exists("+name+")")
		return
	}
	u.conditions = append(u.conditions, name+" = "+u.placeholder(value))
}

func (u *update) placeholder(value types.AttributeValue) string {
	name := ":v" + strconv.Itoa(len(u.values))
	u.values[name] = value
	return name
}

func (u *update) input() *dynamodb.UpdateItemInput {
	var clauses []string // of which none may be empty
	if len(u.set) > 0 {
		clauses = append(clauses, "SET "+strings.Join(u.set, ", "))
	}
	if len(u.remove) > 0 {
		clauses = append(clauses, "REMOVE "+strings.Join(u.remove, ", "))
	}
	return &dynamodb.UpdateItemInput{
		UpdateExpression: aws.String(strings.Join(clauses, " ")), ConditionExpression: aws.String(strings.Join(u.conditions, " AND ")), ExpressionAttributeValues: u.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

package flux

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/report"
)

// contestedType is the condition that tells machines of the fights over fields
// of a unit: its message is a list of [contestedField]. Ready tells people.
const contestedType = "Contested"

// mostContested is how many are told of, as far as there is room.
const mostContested = 50

// A contestedField is one that somebody else sets again and again.
type contestedField struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Field is the field as people read it; empty: somebody deletes the object.
	Field   string `json:"field,omitempty"`
	Manager string `json:"manager,omitempty"` // who, as far as it is known
	// Path is Field as managedFields has it.
	Path json.RawMessage `json:"path,omitempty"`
	// Until is when it is put back at the earliest.
	Until metav1.MicroTime `json:"until"`
	// Value tells the desired value from others; it is left out for Secrets.
	Value string `json:"value,omitempty"`
}

// contest tells of fights in a condition, which is dropped with the last.
func contest(c report.Conditions, fights []apply.Fight) error {
	if len(fights) == 0 {
		c.Drop(contestedType)
		return nil
	}
	var list []json.RawMessage
	room := report.MaxMessage - len("[]")
	for _, f := range fights[:min(len(fights), mostContested)] {
		field := contestedField{
			Group: f.Ref.Group, Kind: f.Ref.Kind, Namespace: f.Ref.Namespace, Name: f.Ref.Name,
			Field: f.Field, Manager: f.Manager, Until: metav1.NewMicroTime(f.Until.UTC()), Value: f.Value,
		}
		if len(f.Path) > 0 {
			path, err := owned.Encode(f.Path)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", f.Field, f.Ref, err)
			}
			field.Path = json.RawMessage(path)
		}
		one, err := json.Marshal(field)
		if err != nil {
			return fmt.Errorf("encode what is fought over: %w", err)
		}
		if room -= len(one) + len(","); room < 0 {
			break // cut off, the list could not be read
		}
		list = append(list, one)
	}
	message, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode what is fought over: %w", err)
	}
	c.Set(contestedType, metav1.ConditionTrue, string(fault.FieldConflict), string(message))
	return nil
}

// contested reads what a status tells of fights.
func contested(conditions []metav1.Condition) (fights []apply.Fight, err error) {
	message := report.Find(conditions, contestedType).Message
	if message == "" {
		return nil, nil
	}
	var list []contestedField
	if err := json.Unmarshal([]byte(message), &list); err != nil {
		return nil, fmt.Errorf("the condition %s can't be read: %w", contestedType, err)
	}
	for _, f := range list {
		fight := apply.Fight{
			Ref:   object.Ref{Group: f.Group, Kind: f.Kind, Namespace: f.Namespace, Name: f.Name},
			Field: f.Field, Manager: f.Manager, Until: f.Until.Time, Value: f.Value,
		}
		if len(f.Path) > 0 {
			if fight.Path, err = owned.Decode(string(f.Path)); err != nil {
				return nil, fmt.Errorf("the condition %s: %s: %w", contestedType, f.Field, err)
			}
		}
		fights = append(fights, fight)
	}
	return fights, nil
}

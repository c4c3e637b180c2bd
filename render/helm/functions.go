package helm

import (
	"reflect"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// random are functions that give something else each time: of the clock, and of
// chance.
var random = []string{
	"now", "ago", "date", "dateInZone", "date_in_zone", "htmlDate", "htmlDateInZone", "dateModify", "date_modify", "mustDateModify", "must_date_modify",
	"randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes", "randInt", "shuffle", "uuidv4",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
	"htpasswd", "bcrypt", "encryptAES",
}

// functions are the random ones, of which it is noted that one was called.
func functions(called *bool) template.FuncMap {
	all := sprig.TxtFuncMap()
	noted := make(template.FuncMap, len(random))
	for _, name := range random {
		if f, ok := all[name]; ok {
			noted[name] = noting(f, called)
		}
	}
	return noted
}

// noting is a function that notes that it was called.
func noting(f any, called *bool) any {
	v := reflect.ValueOf(f)
	return reflect.MakeFunc(v.Type(), func(args []reflect.Value) []reflect.Value {
		*called = true
		if v.Type().IsVariadic() {
			return v.CallSlice(args)
		}
		return v.Call(args)
	}).Interface()
}

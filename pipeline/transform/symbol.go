package transform

import "strings"

// symbolCodes are the codes of the currencies that use a symbol, sorted and with a space
// between; "" if it is not known. Letters count in any case. A symbol that a currency
// never has by itself is not among that currency's: R$ is no other dollar.
func symbolCodes(mark []byte) string {
	if len(mark) > maxMark {
		return ""
	}
	var lower [maxMark]byte
	for i, c := range mark {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	switch string(lower[:len(mark)]) {
	case "$", "＄", "﹩":
		return "ARS AUD BBD BMD BND BSD BZD CAD CLP COP CUP DOP FJD GYD HKD JMD KYD LRD MXN NAD NZD SBD SGD SRD TTD TWD USD UYU XCD"
	case "us$", "u$s", "u$d":
		return "USD"
	case "ca$", "can$":
		return "CAD"
	case "c$":
		return "CAD NIO"
	case "a$", "au$":
		return "AUD"
	case "nz$":
		return "NZD"
	case "s$", "sg$":
		return "SGD"
	case "hk$":
		return "HKD"
	case "nt$":
		return "TWD"
	case "mx$", "mex$":
		return "MXN"
	case "r$":
		return "BRL"
	case "ar$":
		return "ARS"
	case "cl$", "clp$":
		return "CLP"
	case "col$", "cop$":
		return "COP"
	case "rd$":
		return "DOP"
	case "j$":
		return "JMD"
	case "tt$":
		return "TTD"
	case "bz$":
		return "BZD"
	case "ec$":
		return "XCD"
	case "bds$":
		return "BBD"
	case "fj$":
		return "FJD"
	case "n$":
		return "NAD"
	case "mop$":
		return "MOP"
	case "$u":
		return "UYU"
	case "€":
		return "EUR"
	case "£", "￡":
		return "EGP FKP GBP GIP LBP SDG SHP SSP SYP"
	case "¥", "￥":
		return "CNY JPY"
	case "cn¥", "rmb":
		return "CNY"
	case "jp¥", "円":
		return "JPY"
	case "元":
		return "CNY TWD"
	case "kr", "kr.":
		return "DKK ISK NOK SEK"
	case "rs", "rs.", "₨":
		return "INR LKR MUR NPR PKR SCR"
	case "₹":
		return "INR"
	case "₽", "руб", "руб.":
		return "RUB"
	case "₺", "tl":
		return "TRY"
	case "zł", "zŁ":
		return "PLN"
	case "kč", "kČ":
		return "CZK"
	case "ft":
		return "HUF"
	case "lei":
		return "MDL RON"
	case "₩", "￦":
		return "KPW KRW"
	case "₪":
		return "ILS"
	case "฿":
		return "THB"
	case "₫":
		return "VND"
	case "₱":
		return "PHP"
	case "₦":
		return "NGN"
	case "₴", "грн", "грн.":
		return "UAH"
	case "fr", "fr.", "sfr", "sfr.":
		return "CHF"
	case "rm":
		return "MYR"
	case "rp", "rp.":
		return "IDR"
	case "r":
		return "ZAR"
	case "лв", "лв.":
		return "BGN"
	case "₸":
		return "KZT"
	case "₼":
		return "AZN"
	case "₾":
		return "GEL"
	case "₵", "gh₵":
		return "GHS"
	case "₭":
		return "LAK"
	case "₮":
		return "MNT"
	case "₡":
		return "CRC"
	case "₲":
		return "PYG"
	case "៛":
		return "KHR"
	case "৳":
		return "BDT"
	case "؋":
		return "AFN"
	case "﷼":
		return "IRR OMR QAR SAR YER"
	case "֏":
		return "AMD"
	case "s/", "s/.":
		return "PEN"
	case "bs", "bs.":
		return "BOB VES"
	case "ksh":
		return "KES"
	case "fcfa", "cfa":
		return "XAF XOF"
	default:
		return ""
	}
}

// isNewCode takes the codes that ISO 4217 has had since 2017.
func isNewCode(code string) bool {
	switch strings.ToUpper(code) {
	case "MRU", "SLE", "VED", "VES", "XCG", "ZWG":
		return true
	default:
		return false
	}
}

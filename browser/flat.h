/* flat.h - how C of browser/ meets JavaScript: functions of numbers and pointers. */
#ifndef BROWSER_FLAT_H
#define BROWSER_FLAT_H

/* Declares and opens a function that JavaScript calls. */
#define EXPORT(type, name, ...)                                                                    \
    __attribute__((export_name(#name))) type name(__VA_ARGS__);                                    \
    type name(__VA_ARGS__)
#define IMPORT(name) __attribute__((import_module("host"), import_name(#name)))

#endif

"""The frozen records that every part of the program passes on, and their versioned JSON.

SI units inside, the unit in the field's name; ratios are 0 to 1. A figure that is absent is
`None`, and the reason stands in the record's `reasons` under the field's name. Raw samples are
kept; whatever is derived from them can be derived again.

Read `record` first, then `machine`; each of the others is what one verb writes. The names that
`topout.records` gives are listed in `__init__.pyi`, and each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
